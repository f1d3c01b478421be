"""Models of a package that knows this project by its public contract only; servers find them by entry points."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

from reynard_diffusion_server import (
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionModel,
    DiffusionReadParams,
    DiffusionStreamEvent,
)

WORDS = ["naïve ", "漢字", "👩‍👩‍👧‍👦 ", "e\u0301", "\u2028", "\x85", "\n", "plain ", "\r\n", "“x” ", "\t", "🏳️‍🌈"]


def words(seed: int, num_words: int) -> list[str]:
    """The answer of the `words` model."""
    return random.Random(seed).choices(WORDS, k=num_words)


def token(text: object) -> DiffusionStreamEvent:
    return DiffusionStreamEvent(type="token", data=text)


class Words(DiffusionModel):
    """Awkward text, fixed by the seed."""

    def __init__(self) -> None:
        super().__init__("words")

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        for word in words(params.seed or 0, params.max_length or 1):
            yield token(word)

    async def infill_stream(self, params: DiffusionInfillingParams) -> AsyncIterator[DiffusionStreamEvent]:
        for word in words(params.seed or 0, params.max_length or 1):
            yield token(word)


class Endless(DiffusionModel):
    """A word every few milliseconds until nobody listens any more."""

    def __init__(self) -> None:
        super().__init__("endless")

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        while True:
            yield token("on ")
            await asyncio.sleep(0.005)

    async def infill_stream(self, params: DiffusionInfillingParams) -> AsyncIterator[DiffusionStreamEvent]:
        async for event in self.generate_stream(DiffusionGenerationParams(text="x")):
            yield event


class Lines(DiffusionModel):
    """A line of two tokens every few milliseconds until nobody listens any more, for 9 tokens of which it sees 5."""

    def __init__(self) -> None:
        super().__init__("lines")

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        yield DiffusionStreamEvent(type="start", metadata={"prompt_tokens": 9, "truncated_prompt_tokens": 4})
        while True:
            yield DiffusionStreamEvent(type="token", data="line\n", metadata={"tokens": 2})
            await asyncio.sleep(0.005)

    async def infill_stream(self, params: DiffusionInfillingParams) -> AsyncIterator[DiffusionStreamEvent]:
        async for event in self.generate_stream(DiffusionGenerationParams(text="x")):
            yield event


class Silent(DiffusionModel):
    """Never says anything."""

    def __init__(self) -> None:
        super().__init__("silent")

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        await asyncio.Event().wait()
        yield token("")

    async def read_stream(self, params: DiffusionReadParams) -> AsyncIterator[DiffusionStreamEvent]:
        await asyncio.Event().wait()
        yield token("")


class Flood(DiffusionModel):
    """Much text in each word, and as many words as are asked for, or no end."""

    def __init__(self) -> None:
        super().__init__("flood")

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        num_words = 0
        while params.text == "endless" or num_words < (params.max_length or 1):
            yield token("x" * 4096)
            num_words += 1
            await asyncio.sleep(0)


class Parrot(DiffusionModel):
    """Repeats the text, two characters at a time; decides them in a random order first, and shows that."""

    def __init__(self) -> None:
        super().__init__("parrot")

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        pieces = [params.text[start : start + 2] for start in range(0, len(params.text), 2)]
        canvas: list[str | None] = [None] * len(pieces)
        for step, index in enumerate(random.Random(params.seed).sample(range(len(pieces)), len(pieces)), 1):
            canvas[index] = pieces[index]
            committed = [{"index": index, "text": pieces[index], "confidence": 0.5}]
            yield DiffusionStreamEvent(type="step", data={"canvas": [*canvas], "committed": committed, "step": step})
            await asyncio.sleep(0)
        for piece in pieces:
            yield token(piece)

    async def infill_stream(self, params: DiffusionInfillingParams) -> AsyncIterator[DiffusionStreamEvent]:
        async for event in self.generate_stream(DiffusionGenerationParams(text=params.prefix, seed=params.seed)):
            yield event


class BreaksAtOnce(DiffusionModel):
    def __init__(self) -> None:
        super().__init__("breaks-at-once")

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        if params.text:
            raise RuntimeError("cause that no client may read")
        yield token("")


class BreaksLater(DiffusionModel):
    def __init__(self) -> None:
        super().__init__("breaks-later")

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        yield token("so far")
        await asyncio.sleep(0.01)
        raise RuntimeError("cause that no client may read")


class Surrogates(DiffusionModel):
    """Text that is no Unicode."""

    def __init__(self) -> None:
        super().__init__("surrogates")

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        yield token("half \ud83d pair")


class NeverReady(DiffusionModel):
    def __init__(self) -> None:
        super().__init__("never-ready")

    async def initialize(self) -> bool:
        return False

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        yield token("never")


ALL = (Words, Endless, Lines, Silent, Flood, Parrot, BreaksAtOnce, BreaksLater, Surrogates, NeverReady)
