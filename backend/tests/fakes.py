"""Small real models for tests of everything above the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams, DiffusionStreamEvent


def token(text: str, **metadata: int) -> DiffusionStreamEvent:
    return DiffusionStreamEvent(type="token", data=text, metadata=metadata)


class WordsModel(DiffusionModel):
    """Answers with the same pieces of text each time, one event each."""

    algorithms = ("forward", "backward")

    def __init__(self, model_id: str = "words", words: Sequence[str] = ("one", " two", " three")) -> None:
        super().__init__(model_id)
        self.words = list(words)
        self.seen: list[DiffusionGenerationParams | DiffusionInfillingParams] = []
        self.num_initialized = 0
        self.num_closed = 0

    async def initialize(self) -> bool:
        self.num_initialized += 1
        return True

    async def close(self) -> None:
        self.num_closed += 1

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        async for event in self._events(params):
            yield event

    async def infill_stream(self, params: DiffusionInfillingParams) -> AsyncIterator[DiffusionStreamEvent]:
        async for event in self._events(params):
            yield event

    async def _events(
        self, params: DiffusionGenerationParams | DiffusionInfillingParams
    ) -> AsyncIterator[DiffusionStreamEvent]:
        self.seen.append(params)
        for word in self.words:
            await asyncio.sleep(0)
            yield token(word)


class GatedModel(DiffusionModel):
    """Gives one word, then waits for `release`, then gives another. Cannot infill."""

    def __init__(self, model_id: str = "gated") -> None:
        super().__init__(model_id)
        self.release = asyncio.Event()
        self.num_open = 0
        self.most_open = 0
        self.num_closed = 0

    async def close(self) -> None:
        assert self.num_open == 0, "closed while in use"
        self.num_closed += 1

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        self.num_open += 1
        self.most_open = max(self.most_open, self.num_open)
        try:
            yield token("before ")
            await self.release.wait()
            yield token("after")
        finally:
            self.num_open -= 1


class BreakingModel(DiffusionModel):
    """Gives some words, then raises."""

    def __init__(self, model_id: str = "breaking", words: Sequence[str] = ("so far",)) -> None:
        super().__init__(model_id)
        self.words = list(words)

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        for word in self.words:
            yield token(word)
        raise RuntimeError("secret detail")


class StubbornModel(DiffusionModel):
    """Swallows its cancellation and goes on."""

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        yield token("go")
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                yield token("on")


class UnloadableModel(WordsModel):
    """Fails to initialise until `is_repaired`."""

    is_repaired = False

    async def initialize(self) -> bool:
        self.problem = None if self.is_repaired else "the disk is on fire"
        return self.is_repaired


class SlowlyLoadingModel(WordsModel):
    """Is initialised when `may_load` is set."""

    def __init__(self, model_id: str = "slow", words: Sequence[str] = ("at", " last")) -> None:
        super().__init__(model_id, words)
        self.may_load = asyncio.Event()

    async def initialize(self) -> bool:
        await self.may_load.wait()
        return await super().initialize()


class CanvasModel(DiffusionModel):
    """Yields a step event before each word, far more than a slow reader can take."""

    def __init__(self, model_id: str = "canvas", num_steps: int = 100) -> None:
        super().__init__(model_id)
        self.num_steps = num_steps

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        for step in range(self.num_steps):
            yield DiffusionStreamEvent(type="step", data={"step": step})
            yield token(f"{step} ")
