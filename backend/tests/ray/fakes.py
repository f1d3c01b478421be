"""A cluster in one process: what Ray's handles look like to whoever calls them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from app.ray.board import Board


class Method:
    """A method of an actor or of a deployment."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    async def remote(self, *arguments: Any) -> Any:
        result = self._call(*arguments)
        return await result if inspect.isawaitable(result) else result


class FakeBoard:
    """A handle of a board that is really here; `answers` are those of replicas that are not."""

    def __init__(self) -> None:
        self.board = Board()
        self.answers: dict[tuple[str, str], list[Any]] = {}
        self.asked: list[tuple[str, str]] = []

    async def ask_nobody(self, group: str, method: str, timeout_s: float) -> list[Any]:
        self.asked.append((group, method))
        return self.answers.get((group, method), [])

    def __getattr__(self, name: str) -> Method:
        return Method(self.ask_nobody if name == "ask" else getattr(self.board, name))


class FakeStream:
    """What a call of a generator gives: batches, then an error or the end; a batch that is `None` never comes."""

    def __init__(self, batches: list[Any], error: Exception | None) -> None:
        self._batches = batches
        self._error = error
        self.is_cancelled = False

    async def __aiter__(self) -> AsyncIterator[Any]:
        for batch in self._batches:
            if batch is None:
                await asyncio.sleep(60)
            yield batch
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class FakeHandle:
    """A deployment whose replicas say what a test wants."""

    batches: list[Any] = field(default_factory=list)
    error: Exception | None = None
    refusal: str | None = None
    streams: list[FakeStream] = field(default_factory=list)

    def options(self, *, stream: bool) -> Self:
        assert stream
        return self

    @property
    def answer(self) -> Self:
        return self

    @property
    def check(self) -> Method:
        return Method(lambda params: self.refusal)

    def remote(self, params: Any) -> FakeStream:
        self.streams.append(FakeStream(self.batches, self.error))
        return self.streams[-1]
