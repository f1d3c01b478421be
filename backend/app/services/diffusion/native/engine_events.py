"""Turns the engine's events into the model's: ids become text."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from app.engine.interface.events import (
    Admitted,
    Cancelled,
    CanvasSnapshot,
    EngineEvent,
    Failed,
    Finished,
    Step,
    TokenLogprobs,
)
from app.services.diffusion.model_events import CanvasStep, Ended, ModelEvent, Piece, Started
from app.text.detokenizer import Detokenizer
from app.text.tokenizer import Tokenizer

MAX_WAITING_EVENTS = 3
"""Events of one request that may wait to be read: Admitted, the steps since as one, and the end."""


class Translator:
    """Engine events -> model events of one request. Each piece of text comes alone, with the tokens that it took, so
    that a stop string can be counted to the token."""

    def __init__(
        self, tokenizer: Tokenizer, num_prompt_tokens: int, *, num_left_out: int = 0, prompt_text: str | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._num_prompt_tokens = num_prompt_tokens
        self._num_left_out = num_left_out
        self._prompt_text = prompt_text
        self._num_open_tokens = 0  # fed, and still without text
        self._open_logprobs: list[dict[str, Any]] = []  # of those

    def feed(self, event: EngineEvent) -> list[ModelEvent]:
        if isinstance(event, Admitted):
            return [self._start(event)]
        if isinstance(event, Step):
            # The canvas first: where a stop string ends the answer with this text, nothing behind it is read.
            return [*self._canvas(event), *self._pieces(event)]
        if isinstance(event, Finished):
            return [*self._rest(event), _ended(event)]
        return []

    def _start(self, event: Admitted) -> Started:
        return Started(
            device=event.device,
            num_prompt_tokens=self._num_prompt_tokens,
            num_truncated=self._num_left_out + event.num_truncated,
            prompt_text=self._prompt_text,
        )

    def _pieces(self, event: Step) -> list[Piece]:
        pieces: list[Piece] = []
        for token_id, logprobs in zip_longest(event.new_final, event.logprobs):
            self._num_open_tokens += 1
            if logprobs is not None:
                self._open_logprobs.append(self._noted(token_id, logprobs))
            pieces += self._piece(self._detokenizer.feed([token_id]), event.nfe)
        return pieces

    def _rest(self, event: Finished) -> list[Piece]:
        return self._piece(self._detokenizer.flush(), event.nfe)

    def _piece(self, text: str, nfe: int) -> list[Piece]:
        if not text:
            return []
        num_tokens, self._num_open_tokens = self._num_open_tokens, 0
        logprobs, self._open_logprobs = self._open_logprobs, []
        return [Piece(text, num_tokens, nfe, tuple(logprobs))]

    def _noted(self, token_id: int, logprobs: TokenLogprobs) -> dict[str, Any]:
        top = [self._named(best_id, logprob) for best_id, logprob in logprobs.top]
        forced = {} if logprobs.forced is None else {"forced": logprobs.forced}
        committed = {"step": logprobs.step, "changes": logprobs.num_changes}
        return {**self._named(token_id, logprobs.logprob), "top": top, **committed, **forced}

    def _named(self, token_id: int, logprob: float) -> dict[str, Any]:
        return named_token(self._tokenizer, token_id, logprob)

    def _canvas(self, event: Step) -> list[CanvasStep]:
        if event.snapshot is None:
            return []
        return [CanvasStep({**self._drawn(event.snapshot), "step": event.nfe, "nfe": event.nfe})]

    def _drawn(self, snapshot: CanvasSnapshot) -> dict[str, Any]:
        text = self._tokenizer.token_text
        forced = {} if snapshot.forced is None else {"forced": list(snapshot.forced)}
        return {
            "canvas": [None if token_id == snapshot.mask_id else text(token_id) for token_id in snapshot.ids],
            "committed": [
                {"index": commit.index, "text": text(commit.token_id), "confidence": round(commit.confidence, 4)}
                for commit in snapshot.commits
            ],
            "expanded": list(snapshot.expanded),
            "deleted": list(snapshot.deleted),
            "revoked": list(snapshot.revoked),
            **forced,
        }


def named_token(tokenizer: Tokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    """A token and its log-probability, as they leave the server."""
    text = tokenizer.token_text(token_id)
    octets = tokenizer.decode_bytes([token_id], skip_special=False) if tokenizer.is_byte_level else text.encode()
    return {"token": text, "bytes": list(octets), "logprob": logprob}


def _ended(event: Finished) -> Ended:
    return Ended(
        finish_reason=event.reason.value,
        num_tokens=event.num_tokens,
        num_denoising_steps=event.nfe,
        device=event.device,
    )


def is_last(event: EngineEvent) -> bool:
    """Whether the engine is through with the request."""
    return isinstance(event, Finished | Cancelled | Failed)


def merge_steps(pending: deque[EngineEvent], event: EngineEvent) -> None:
    """Steps that nobody has read yet become one: all of their text, and the newest canvas."""
    last = pending[-1] if pending else None
    if isinstance(event, Step) and isinstance(last, Step):
        pending[-1] = replace(
            event,
            new_final=(*last.new_final, *event.new_final),
            logprobs=(*last.logprobs, *event.logprobs),
            snapshot=event.snapshot or last.snapshot,
        )
    else:
        pending.append(event)
