from __future__ import annotations

import asyncio

import pytest

from app.engine.interface.counters import EngineCounters
from app.services.diffusion import Overloaded
from app.services.diffusion.requests.stats import Outcome, RunReport
from tests.fakes import BreakingModel, GatedModel, UnloadableModel, WordsModel
from tests.unit.services.diffusion.serving import serving, until


class CountingModel(WordsModel):
    counters = EngineCounters(num_passes=3)


async def test_running_and_waiting_requests_are_reported() -> None:
    gated = GatedModel()
    async with serving(gated, max_concurrent_requests=1) as service:
        asked = [asyncio.ensure_future(service.generate_stream("x").accepted()) for _ in range(3)]
        await until(lambda: service.observation().num_waiting == 2)
        seen = service.observation()
        assert (seen.num_in_flight, seen.num_running) == (3, 1)
        for waiting in asked:
            waiting.cancel()
        await asyncio.wait(asked)
        await until(lambda: service.observation().num_in_flight == 0)


async def test_loaded_models_are_reported() -> None:
    async with serving(CountingModel(), UnloadableModel("broken")) as service:
        models = {model.model_id: model for model in service.observation().models}
    assert models["words"].is_available
    assert models["words"].device == "cpu"
    assert models["words"].counters == EngineCounters(num_passes=3)
    assert not models["broken"].is_available
    assert models["broken"].device == ""
    assert models["broken"].counters is None


async def test_every_end_is_reported() -> None:
    reports: list[RunReport] = []
    async with serving(WordsModel(), BreakingModel(), UnloadableModel("broken")) as service:
        service.subscribe(reports.append)
        await service.generate_stream("x")
        await service.infill_stream("x", "y", model_id="broken")
        async for _ in service.generate_stream("x", model_id="breaking"):
            pass
    answered, stood_in, failed = reports
    assert (answered.outcome, answered.operation, answered.num_tokens) == (Outcome.SUCCESSFUL, "generate", 3)
    assert answered.queue_time_s is not None
    assert answered.first_text_s is not None
    assert 0 <= answered.queue_time_s <= answered.first_text_s <= answered.processing_time_s
    assert (stood_in.operation, stood_in.requested_model, stood_in.model_id) == ("infill", "broken", "words")
    assert (failed.outcome, failed.code, failed.model_id) == (Outcome.FAILED, "generation_failed", "breaking")


async def test_a_request_that_never_began_has_no_times_but_one() -> None:
    reports: list[RunReport] = []
    async with serving(GatedModel(), max_concurrent_requests=1, max_queued_requests=0) as service:
        service.subscribe(reports.append)
        running = service.generate_stream("x")
        await running.accepted()
        with pytest.raises(Overloaded):
            await service.generate_stream("x")
        await running.aclose()
    refused, given_up = reports
    assert (refused.code, refused.queue_time_s, refused.first_text_s) == ("queue_full", None, None)
    assert given_up.outcome is Outcome.CANCELLED
    assert given_up.first_text_s is not None
