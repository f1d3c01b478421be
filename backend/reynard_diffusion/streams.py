"""Streams of events for a caller, who reads the events one by one, or all that are left as a result."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Self

from reynard_diffusion.reading import Fold
from reynard_diffusion.results import DiffusionStreamEvent, GenerationResult


class EventStream:
    """An iterator over the events of one request, of which the last is `complete`; failures are raised.

    The request is sent when the first event is read. Closing the stream, leaving its `with` block or dropping it
    cancels the request on the server.
    """

    def __init__(self, events: Generator[DiffusionStreamEvent, None, None]) -> None:
        self._events = events
        self._fold = Fold()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> DiffusionStreamEvent:
        return self._fold.add(next(self._events))

    def result(self) -> GenerationResult:
        """Reads the events that are left, and gives the result, which is the same as without streaming."""
        for _ in self:
            pass
        return self._fold.result()

    def close(self) -> None:
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncEventStream:
    """An EventStream for `async for`; a loop that is left early needs `async with`, or `aclose`, to cancel at once."""

    def __init__(self, events: AsyncGenerator[DiffusionStreamEvent, None]) -> None:
        self._events = events
        self._fold = Fold()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DiffusionStreamEvent:
        return self._fold.add(await anext(self._events))

    async def result(self) -> GenerationResult:
        """Reads the events that are left, and gives the result, as in EventStream."""
        async for _ in self:
            pass
        return self._fold.result()

    async def aclose(self) -> None:
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
