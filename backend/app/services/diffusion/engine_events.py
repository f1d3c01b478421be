"""From the engine's events to the stream's: ids become text."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from app.engine.events import Admitted, Cancelled, CanvasSnapshot, EngineEvent, Failed, Finished, Step
from app.services.diffusion.models import DiffusionStreamEvent
from app.text.detokenizer import Detokenizer
from app.text.tokenizer import Tokenizer


class Translator:
    """Engine events -> stream events of one request. Each piece of text comes alone, with the tokens that it took, so
    that a stop string can be counted to the token."""

    def __init__(self, tokenizer: Tokenizer, num_prompt_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._num_prompt_tokens = num_prompt_tokens
        self._num_open_tokens = 0  # fed, and still without text

    def feed(self, event: EngineEvent) -> list[DiffusionStreamEvent]:
        if isinstance(event, Admitted):
            return [self._start(event)]
        if isinstance(event, Step):
            return [*self._pieces(event), *self._canvas(event)]
        if isinstance(event, Finished):
            return [*self._rest(event), _complete(event)]
        return []

    def _start(self, event: Admitted) -> DiffusionStreamEvent:
        return DiffusionStreamEvent(
            type="start",
            metadata={
                "device": event.device,
                "prompt_tokens": self._num_prompt_tokens,
                "truncated_prompt_tokens": event.num_truncated,
            },
        )

    def _pieces(self, event: Step) -> list[DiffusionStreamEvent]:
        pieces = []
        for token_id in event.new_final:
            self._num_open_tokens += 1
            pieces += self._piece(self._detokenizer.feed([token_id]), event.nfe)
        return pieces

    def _rest(self, event: Finished) -> list[DiffusionStreamEvent]:
        return self._piece(self._detokenizer.flush(), event.nfe)

    def _piece(self, text: str, nfe: int) -> list[DiffusionStreamEvent]:
        if not text:
            return []
        num_tokens, self._num_open_tokens = self._num_open_tokens, 0
        metadata = {"tokens": num_tokens, "denoising_steps": nfe}
        return [DiffusionStreamEvent(type="token", data=text, metadata=metadata)]

    def _canvas(self, event: Step) -> list[DiffusionStreamEvent]:
        if event.snapshot is None:
            return []
        data = {**self._drawn(event.snapshot), "step": event.nfe, "nfe": event.nfe}
        return [DiffusionStreamEvent(type="step", data=data)]

    def _drawn(self, snapshot: CanvasSnapshot) -> dict[str, Any]:
        text = self._tokenizer.token_text
        return {
            "canvas": [None if token_id == snapshot.mask_id else text(token_id) for token_id in snapshot.ids],
            "committed": [
                {"index": commit.index, "text": text(commit.token_id), "confidence": round(commit.confidence, 4)}
                for commit in snapshot.commits
            ],
            "expanded": list(snapshot.expanded),
            "deleted": list(snapshot.deleted),
        }


def _complete(event: Finished) -> DiffusionStreamEvent:
    return DiffusionStreamEvent(
        type="complete",
        metadata={
            "finish_reason": event.reason.value,
            "tokens_generated": event.num_tokens,
            "denoising_steps": event.nfe,
            "device": event.device,
        },
    )


def is_last(event: EngineEvent) -> bool:
    """Whether the engine is through with the request."""
    return isinstance(event, Finished | Cancelled | Failed)


def merge_steps(pending: deque[EngineEvent], event: EngineEvent) -> None:
    """Steps that nobody has read yet become one: all of their text, and the newest canvas."""
    last = pending[-1] if pending else None
    if isinstance(event, Step) and isinstance(last, Step):
        pending[-1] = replace(
            event, new_final=(*last.new_final, *event.new_final), snapshot=event.snapshot or last.snapshot
        )
    else:
        pending.append(event)
