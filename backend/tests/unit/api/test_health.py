from __future__ import annotations

import signal

import httpx
import pytest
import uvicorn

from app.api.health import router
from app.core.settings import Settings
from app.server import Server, create_app
from app.services.diffusion import DiffusionLLMService
from tests.fakes import WordsModel
from tests.unit.services.diffusion.serving import serving


async def probe(service: DiffusionLLMService, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(Settings(), service), client=("203.0.113.7", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://anywhere.example") as client:
        return await client.get(f"{router.prefix}{path}")


async def test_a_service_that_answers_is_ready_for_everybody() -> None:
    async with serving(WordsModel()) as service:
        answer = await probe(service, "/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize("reason", ["starting", "disabled", "stopping"])
async def test_one_that_does_not_says_why(reason: str) -> None:
    async with serving(WordsModel(), enabled=reason != "disabled") as service:
        if reason == "stopping":
            service.announce_end()
        asked = DiffusionLLMService() if reason == "starting" else service
        ready, live = await probe(asked, "/ready"), await probe(asked, "/live")
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "5")
    assert ready.headers["content-type"] == "application/problem+json"
    assert ready.json()["code"] == "not_ready"
    assert reason in ready.json()["detail"]
    assert (live.status_code, live.json()) == (200, {"status": "alive"})


async def test_a_server_that_is_asked_to_stop_is_no_longer_ready() -> None:
    async with serving(WordsModel()) as service:
        app = create_app(Settings(), service)
        Server(uvicorn.Config(app, log_config=None), service).handle_exit(signal.SIGTERM, None)
        assert (await probe(service, "/ready")).json()["detail"] == "the server is stopping"
        assert (await service.generate_stream("x")).success
