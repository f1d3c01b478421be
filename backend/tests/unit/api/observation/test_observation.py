from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from app.api.observation.instruments import Instruments
from app.api.observation.observation import observing
from app.core.settings import Settings
from app.server import create_app
from app.services.diffusion import DiffusionLLMService
from tests.fakes import WordsModel
from tests.unit.services.diffusion.serving import serving


def client_of(service: DiffusionLLMService) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(Settings(), service), client=("127.0.0.1", 40_000))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def test_two_applications_in_one_process_count_for_themselves() -> None:
    async with (
        serving(WordsModel()) as first,
        serving(WordsModel()) as second,
        client_of(first) as asked,
        client_of(second) as idle,
    ):
        answer = await asked.post("/api/diffusion/generate", json={"text": "x"})
        assert answer.status_code == 200
        counted, other = await asked.get("/metrics"), await idle.get("/metrics")
    line = 'reynard_requests_total{model="words",operation="generate",outcome="successful"} 1.0'
    assert line in counted.text
    assert line not in other.text


@pytest.mark.parametrize("has_traces", [True, False])
async def test_watching_ends_with_the_application(has_traces: bool) -> None:
    closed: list[bool] = []
    app = FastAPI()
    app.state.instruments = Instruments()
    app.state.traces = SimpleNamespace(close=lambda: closed.append(True)) if has_traces else None
    before = asyncio.all_tasks()
    async with observing(app):
        assert len(asyncio.all_tasks()) == len(before) + 1
        assert not closed
    assert asyncio.all_tasks() == before
    assert closed == [True] * has_traces
