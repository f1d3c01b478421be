from __future__ import annotations

import asyncio

from app.core.settings import DiffusionConfig
from app.services.diffusion import DiffusionLLMService
from app.services.diffusion.reports import ComponentHealth
from app.services.diffusion.residency.health import NONE_AVAILABLE, NOT_LOADED, reason_not_ready, with_component
from tests.fakes import SlowlyLoadingModel, UnloadableModel, WordsModel
from tests.unit.services.diffusion.serving import NO_FOLDER, serving, until


async def test_it_is_ready_once_the_default_model_is_loaded() -> None:
    model = SlowlyLoadingModel()
    built_in = {"dreamon_path": NO_FOLDER, "llada_path": NO_FOLDER}
    service = DiffusionLLMService(DiffusionConfig(default_model="slow", **built_in))
    service.register_model(model)
    service.register_model(WordsModel())
    assert service.reason_not_ready() == "the service is starting"
    initializing = asyncio.create_task(service.initialize())
    await until(lambda: service.reason_not_ready() == NOT_LOADED)
    await asyncio.sleep(0.01)
    assert service.reason_not_ready() == NOT_LOADED
    model.may_load.set()
    await initializing
    assert service.reason_not_ready() is None
    await service.close()
    assert service.reason_not_ready() == "the server is stopping"


async def test_a_stand_in_makes_it_ready_where_it_may_answer() -> None:
    async with serving(UnloadableModel("broken"), WordsModel()) as service:
        await until(lambda: service.reason_not_ready() is None)
        await service.configure({"model_fallback": False})
        assert service.reason_not_ready() == NONE_AVAILABLE


async def test_without_any_model_it_is_not_ready() -> None:
    async with serving(UnloadableModel("broken")) as service:
        await until(lambda: service.reason_not_ready() == NONE_AVAILABLE)


def test_a_default_that_a_plug_in_is_to_bring_is_waited_for() -> None:
    assert reason_not_ready([], default_model="from-a-plug-in", model_fallback=True) == NOT_LOADED


async def test_a_failed_component_degrades_a_healthy_service_and_improves_nothing() -> None:
    failing, working = (ComponentHealth(healthy=is_healthy, detail="") for is_healthy in (False, True))
    async with serving(WordsModel()) as service:
        await until(lambda: service.reason_not_ready() is None)
        report = service.health()
        assert with_component(report, "redis", working).status == report.status == "healthy"
        degraded = with_component(report, "redis", failing)
        assert (degraded.status, degraded.healthy, degraded.components) == ("degraded", False, {"redis": failing})
        await service.configure({"enabled": False})
        assert with_component(service.health(), "redis", working).status == "disabled"
