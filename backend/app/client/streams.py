"""A stream as its reader sees it: events one by one, or all that is left as a result."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Self

from app.client.reading import Fold
from app.services.diffusion.models import DiffusionStreamEvent, GenerationResult


class EventStream:
    """Iterate over it: the events, of which the last is `complete`; what goes wrong is raised. Nothing is asked before
    the first one is wanted. Closing it, leaving the `with` block or dropping it cancels the request on the server.
    """

    def __init__(self, events: Generator[DiffusionStreamEvent, None, None]) -> None:
        self._events = events
        self._fold = Fold()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> DiffusionStreamEvent:
        return self._fold.add(next(self._events))

    def result(self) -> GenerationResult:
        """Reads what is left; what the whole stream comes to is the same as without streaming."""
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
    """The same for `async for`. A loop that is left early needs `async with`, or `aclose`, to cancel at once."""

    def __init__(self, events: AsyncGenerator[DiffusionStreamEvent, None]) -> None:
        self._events = events
        self._fold = Fold()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DiffusionStreamEvent:
        return self._fold.add(await anext(self._events))

    async def result(self) -> GenerationResult:
        """As in EventStream."""
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
