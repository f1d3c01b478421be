"""An ingress in one process, with a board that is here and deployments that say what a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.core.settings import DiffusionConfig
from app.ray.board import Report
from app.ray.board_caller import BoardCaller
from app.ray.cluster import Cluster
from app.ray.service import ClusterService
from app.services.diffusion.model_events import Ended, Piece, Started
from tests.ray.fakes import FakeBoard, FakeHandle
from tests.ray.samples import details

START = Started(device="cpu", num_prompt_tokens=1)
ENDED = Ended(num_tokens=2, num_denoising_steps=1, device="cpu")


class World:
    """An ingress, its board, and a replica of each model that has reported."""

    def __init__(self, **settings: Any) -> None:
        batches = [[START], [Piece("Hello"), Piece(" you")], [ENDED]]
        self.models = {name: FakeHandle(list(batches)) for name in ("dreamon", "llada")}
        self.board = FakeBoard()
        cluster = Cluster("me", BoardCaller(self.board), self.models, max_replicas=2)
        self.service = ClusterService(DiffusionConfig(**settings), cluster, {})

    @classmethod
    @asynccontextmanager
    async def ready(cls, **settings: Any) -> AsyncIterator[World]:
        world = cls(**settings)
        await world.report("dreamon")
        await world.report("llada")
        assert await world.service.initialize()
        yield world
        await world.service.close()

    async def report(self, model_id: str, **facts: Any) -> None:
        self.board.board.exchange(Report(f"{model_id}-0", model=details(model_id, **facts)))
        await self.service.membership.exchange()
