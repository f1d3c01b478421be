"""The deployment that speaks HTTP: the application, around a service whose models run in other deployments."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from fastapi import FastAPI, Request
from prometheus_client import Metric
from ray import serve

from app.api.deps import get_service
from app.api.observation.metrics import get_scrape, scrape_of
from app.api.wire.kinds import is_admin_call
from app.core.logging import configure_logging
from app.core.settings import Settings
from app.ray.board import INGRESS
from app.ray.board_caller import BoardCaller
from app.ray.cluster import Cluster
from app.ray.metrics import ReplicaMetrics
from app.ray.serve_log import speak_plainly
from app.ray.service import ClusterService
from app.server import create_app


@serve.ingress()
class Ingress:
    """Knows no tensors and needs no GPU."""

    async def __init__(self, settings: Settings, models: Mapping[str, Any], board: Any) -> None:  # type: ignore[misc]
        configure_logging(settings)
        speak_plainly()
        self._member = serve.get_replica_context().replica_id.unique_id
        self._cluster = Cluster(self._member, BoardCaller(board), models, max_replicas=settings.ray_max_replicas)
        self._service = ClusterService(settings.service_config(), self._cluster, {"families": self._families})
        self._app = create_app(settings, self._service)
        self._app.dependency_overrides = {get_service: self._get_service, get_scrape: self._get_scrape}
        await self._service.membership.exchange()
        self._service.membership.begin()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._app

    async def _families(self) -> tuple[str, list[Metric]]:
        return self._member, list((await scrape_of(self._app)).collect())

    async def _get_service(self, request: Request) -> ClusterService:
        """Gives the service; an admin call gets fresh counters of all ingresses."""
        if is_admin_call(request.scope):
            await self._service.refresh()
        return self._service

    async def _get_scrape(self) -> ReplicaMetrics:
        reported = [await self._cluster.ask(group, "families") for group in (INGRESS, *self._cluster.models)]
        return ReplicaMetrics(chain.from_iterable(reported))
