from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.core.settings import Settings
from app.server import create_app
from app.services.diffusion import DiffusionGenerationParams, DiffusionInfillingParams, DiffusionStreamEvent
from app.services.diffusion.errors import GenerationCancelled, OutOfMemory, ServiceError
from tests.fakes import WordsModel
from tests.unit.services.diffusion.serving import serving


class FailingModel(WordsModel):
    """Fails behind its first word."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__()
        self.error = error

    async def _events(
        self, params: DiffusionGenerationParams | DiffusionInfillingParams
    ) -> AsyncIterator[DiffusionStreamEvent]:
        async for event in super()._events(params):
            yield event
            raise self.error


async def answered(error: ServiceError, path: str, **body: Any) -> httpx.Response:
    async with serving(FailingModel(error)) as service:
        transport = httpx.ASGITransport(create_app(Settings(), service), client=("127.0.0.1", 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(path, json=body)


@pytest.mark.parametrize("error", [OutOfMemory("memory is short"), GenerationCancelled("the server stops")])
async def test_one_that_fails_behind_its_first_word_says_when_to_ask_again(error: ServiceError) -> None:
    infill = await answered(error, "/infill", input_prefix="a", input_suffix="b")
    fim = await answered(error, "/v1/fim/completions", prompt="a", suffix="b")
    assert (infill.status_code, infill.headers["retry-after"]) == (503, "5")
    assert (fim.status_code, fim.headers["retry-after"], fim.json()) == (503, "5", infill.json())
