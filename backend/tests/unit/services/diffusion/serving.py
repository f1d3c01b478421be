"""A service with models of one's choice, and without the built-in ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.core.settings import DiffusionConfig
from app.services.diffusion import DiffusionLLMService, DiffusionModel

NO_FOLDER = "no-such-folder"


@asynccontextmanager
async def serving(*models: DiffusionModel, **settings: Any) -> AsyncIterator[DiffusionLLMService]:
    """The first model is the default; the built-in ones fail to load at once."""
    built_in = {"dreamon_path": NO_FOLDER, "llada_path": NO_FOLDER}
    service = DiffusionLLMService(DiffusionConfig(**{**built_in, "default_model": models[0].model_id, **settings}))
    for model in models:
        service.register_model(model)
    await service.initialize()
    try:
        yield service
        assert_law(service)
    finally:
        await service.close()
        assert_law(service)
        assert service.statistics().requests_in_flight == 0


def assert_law(service: DiffusionLLMService) -> None:
    counted = service.statistics()
    parts = (
        counted.successful_requests + counted.failed_requests + counted.cancelled_requests + counted.requests_in_flight
    )
    assert counted.total_requests == parts


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until the condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)
