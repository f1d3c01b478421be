"""Answers to `/infill` as llama.cpp's server gives them, as far as plug-ins read them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from app.api.llama_cpp.requests import InfillRequest
from app.services.diffusion import DiffusionStreamEvent, Generation
from app.services.diffusion.metadata import AnswerMetadata, answer_metadata, num_seen_tokens


class InfillAnswer:
    """One answer as it grows. It belongs to one event loop.

    Args:
        n_ctx: gives the tokens that a model sees at a time, which is known once it was loaded.
        progress: counts its tokens until the last event reports them, which does not come where the time was up.
    """

    def __init__(
        self,
        asked: InfillRequest,
        *,
        index: int,
        model_id: str,
        n_ctx: Callable[[str], int],
        progress: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._asked = asked
        self._index = index
        self._n_ctx = n_ctx
        self._progress = progress
        self._reported = AnswerMetadata(model_id=model_id, prompt_tokens=0, tokens_generated=0, finish_reason="length")
        self._pieces: list[str] = []
        self._started_s = self._now_s()

    def take(self, event: DiffusionStreamEvent) -> None:
        """Takes in an event of the service."""
        if event.type == "start":
            self._started_s = self._now_s()
        elif event.type == "token":
            self._pieces.append(event.data)
        self._reported = answer_metadata(self._reported, self._progress(), event.metadata)

    def piece(self, text: str) -> dict[str, Any]:
        """The chunk of a stream for a piece of text."""
        return {"index": self._index, "content": text, "tokens": [], "stop": False}

    def whole(self) -> dict[str, Any]:
        """The whole answer, without what was not asked for."""
        return self._asked_for("".join(self._pieces))

    def last(self) -> dict[str, Any]:
        """The last chunk of a stream: the same without the text, which has been sent."""
        return self._asked_for("")

    def _asked_for(self, content: str) -> dict[str, Any]:
        return _selected(self._everything(content), self._asked.response_fields or ())

    def _everything(self, content: str) -> dict[str, Any]:
        num_predicted = self._reported["tokens_generated"]
        num_left_out = self._reported.get("truncated_prompt_tokens", 0)
        num_prompt_tokens = num_seen_tokens(self._reported)
        return {
            "index": self._index,
            "content": content,
            "tokens": [],
            "id_slot": 0,
            "stop": True,
            "model": self._reported["model_id"],
            "tokens_predicted": num_predicted,
            "tokens_evaluated": num_prompt_tokens,
            "tokens_cached": 0,
            "truncated": self._asked.is_cut or num_left_out > 0,
            "stop_type": self._stop_type(),
            "stopping_word": self._reported.get("stop_string") or "",
            "generation_settings": self._settings(),
            "timings": _timings(num_prompt_tokens, num_predicted, self._now_s() - self._started_s),
        }

    def _stop_type(self) -> str:
        if self._reported.get("stop_string"):
            return "word"
        return "limit" if self._reported["finish_reason"] == "length" else "eos"

    def _settings(self) -> dict[str, Any]:
        given = self._asked.model_dump(
            include={"n_predict", "temperature", "top_k", "top_p", "min_p", "stop", "stream"}
        )
        return {"n_ctx": self._n_ctx(self._reported["model_id"]), "seed": self._reported.get("seed"), **given}

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def _timings(num_prompt_tokens: int, num_predicted: int, duration_s: float) -> dict[str, Any]:
    """The timings of an answer. The steps process prompt and answer together, so all of the time is the answer's."""
    return {
        "prompt_n": num_prompt_tokens,
        "prompt_ms": 0.0,
        "prompt_per_token_ms": 0.0,
        "prompt_per_second": 0.0,
        "predicted_n": num_predicted,
        "predicted_ms": round(duration_s * 1000, 3),
        "predicted_per_token_ms": round(duration_s * 1000 / num_predicted, 3) if num_predicted else 0.0,
        "predicted_per_second": round(num_predicted / duration_s, 3) if duration_s > 0 else 0.0,
    }


def _selected(answer: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The values at the paths that the answer has, under the paths' own names; the whole answer where none is named."""
    if not paths:
        return answer
    flat = {**answer, **{f"{name}/{key}": value for name in _NESTED for key, value in answer[name].items()}}
    return {path: flat[path] for path in paths if path in flat}


_NESTED = ("timings", "generation_settings")


async def in_time(generation: Generation, limit_ms: int | None) -> AsyncGenerator[DiffusionStreamEvent, None]:
    """The events of a generation. It is finished once it has a line and `limit_ms` have passed since its first text."""
    loop = asyncio.get_running_loop()
    first_text_s: float | None = None
    has_line = False
    async for event in generation:
        yield event
        if event.type != "token" or limit_ms is None:
            continue
        first_text_s = loop.time() if first_text_s is None else first_text_s
        has_line |= "\n" in event.data or "\r" in event.data
        if has_line and (loop.time() - first_text_s) * 1000 > limit_ms:
            await generation.finish()
            return
