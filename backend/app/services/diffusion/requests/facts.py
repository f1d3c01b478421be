"""The facts about one request while it is answered, written into the metadata of its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.services.diffusion.metadata import AnswerMetadata
from app.services.diffusion.model_events import (
    CanvasStep,
    Ended,
    HolesRead,
    LikelihoodsRead,
    ModelEvent,
    Piece,
    Started,
)


@dataclass(slots=True)
class Facts:
    """The service's decisions, and the model's reports. Empty or `None` until they are known."""

    request_id: str
    is_of_ids: bool
    """Its text was given as token ids."""
    requested_model: str = ""
    model_id: str = ""
    device: str = ""
    """The device on which it runs."""
    home_device: str = ""
    """The model's own; another one than `device` where that had no room for the request, or no longer."""
    seed: int | None = None
    num_prompt_tokens: int | None = None
    num_truncated: int = 0
    prompt_text: str | None = None
    finish_reason: str = "stop"
    num_tokens: int | None = None
    num_denoising_steps: int | None = None
    holes: Mapping[str, Mapping[str, Any]] | None = None
    """The answers of the holes, where the request is to read."""

    likelihoods: Sequence[Mapping[str, Any]] | None = None
    """The likelihood of each text, where the request is for their likelihood."""

    def take(self, event: ModelEvent) -> None:
        """Takes in what an event reports; what it leaves out stays as it was."""
        match event:
            case Piece():
                self.num_denoising_steps = _newer(event.num_denoising_steps, self.num_denoising_steps)
            case Started():
                self.device = event.device or self.device
                self.num_prompt_tokens = _newer(event.num_prompt_tokens, self.num_prompt_tokens)
                self.num_truncated = event.num_truncated or self.num_truncated
                self.prompt_text = event.prompt_text if self.is_of_ids else None
            case CanvasStep():
                pass
            case HolesRead():
                self.holes = event.holes
            case LikelihoodsRead():
                self.likelihoods = event.likelihoods
            case Ended():
                self.device = event.device or self.device
                self.finish_reason = event.finish_reason or self.finish_reason
                self.num_tokens = event.num_tokens
                self.num_prompt_tokens = _newer(event.num_prompt_tokens, self.num_prompt_tokens)
                self.num_denoising_steps = _newer(event.num_denoising_steps, self.num_denoising_steps)

    def of_start(self) -> AnswerMetadata:
        """The metadata of the `start` event."""
        return {
            "request_id": self.request_id,
            "model_id": self.model_id,
            "device": self.device,
            "seed": self.seed,
            "prompt_tokens": self.num_prompt_tokens,
            **self._given_text(),
        }

    def of_end(
        self, *, num_tokens: int, stop_string: str | None, queue_time_s: float, processing_time_s: float
    ) -> AnswerMetadata:
        """The metadata of the `complete` event.

        Args:
            num_tokens: of the text that was sent.
            stop_string: what has ended it, if something did.
        """
        answering_s = processing_time_s - queue_time_s
        moved: AnswerMetadata = {"moved_from": self.home_device} if self.device != self.home_device else {}
        return {
            "request_id": self.request_id,
            "requested_model": self.requested_model,
            "model_id": self.model_id,
            "device": self.device,
            "seed": self.seed,
            **moved,
            "prompt_tokens": self.num_prompt_tokens,
            "truncated_prompt_tokens": self.num_truncated,
            "denoising_steps": self.num_denoising_steps,
            **self._read(),
            "finish_reason": self.finish_reason if stop_string is None else "stop",
            "stop_string": stop_string,
            **self._given_text(),
            "tokens_generated": num_tokens,
            "tokens_per_second": round(num_tokens / answering_s, 2) if answering_s > 0 else 0.0,
            "queue_time": round(queue_time_s, 4),
            "processing_time": round(processing_time_s, 4),
        }

    def _read(self) -> AnswerMetadata:
        holes: AnswerMetadata = {} if self.holes is None else {"holes": self.holes}
        likelihoods: AnswerMetadata = {} if self.likelihoods is None else {"likelihoods": self.likelihoods}
        return {**holes, **likelihoods}

    def _given_text(self) -> AnswerMetadata:
        return {} if self.prompt_text is None else {"prompt_text": self.prompt_text}


def _newer(new: int | None, known: int | None) -> int | None:
    return known if new is None else new
