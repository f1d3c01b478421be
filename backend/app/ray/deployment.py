"""Makes the deployments from the settings: their replicas, and the resources of each."""

from __future__ import annotations

from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.deployment import Application

from app.core.settings import ENV_PREFIX, Settings, WrongSetting
from app.ray.board_actor import BoardActor
from app.ray.ingress import Ingress
from app.ray.model_replica import ModelReplica
from app.services.diffusion.residency.catalog import configured_entries, plugin_entries

NAME = "reynard"
"""The name of the application, and of the namespace in which its board is."""
HEALTH_CHECK_EVERY_S = 2.0
MAX_LISTENERS = 10_000
"""Replicas that may wait at the board to be asked something."""


def build(settings: dict[str, Any]) -> Application:
    """Builds the application for Serve's own files and commands, as in
    `serve run app.ray.deployment:build dtype=bfloat16`. Settings that are not given come from the environment."""
    return application(Settings(**settings))


def application(settings: Settings) -> Application:
    """Builds the application that `serve.run` takes. Ray must be initialised.

    Raises:
        WrongSetting: more replicas at least than at most, or adapters.
    """
    if settings.adapters:
        raise WrongSetting(
            f"{ENV_PREFIX}ADAPTERS={settings.adapters!r} is not allowed on Ray: each model is a deployment of its own "
            "there, and an adapter shares its base's weights only in one process; serve without Ray, or merge the "
            "adapter into a checkpoint and name that in DIFFUSION_EXTRA_MODELS"
        )
    if settings.ray_min_replicas > settings.ray_max_replicas:
        raise WrongSetting(
            f"{ENV_PREFIX}RAY_MIN_REPLICAS={settings.ray_min_replicas} is not allowed; allowed: up to "
            f"{ENV_PREFIX}RAY_MAX_REPLICAS={settings.ray_max_replicas}"
        )
    board = _board()
    entries = [*configured_entries(settings.service_config()), *plugin_entries()]
    models = {entry.model_id: _model(entry.model_id, settings, board) for entry in entries}
    ingress = serve.deployment(
        name="ingress",
        num_replicas=settings.ray_ingress_replicas,
        max_ongoing_requests=settings.max_connections,
        ray_actor_options={"num_cpus": 0},
        **_life(settings),
    )(Ingress)
    return ingress.bind(settings, models, board)


def _model(model_id: str, settings: Settings, board: Any) -> Application:
    """The deployment of one model; `max_concurrent_requests` is what one replica denoises at the same time."""
    places = settings.max_concurrent_requests * settings.ray_max_replicas
    deployment = serve.deployment(
        name=f"model-{model_id}",
        max_ongoing_requests=settings.max_concurrent_requests,
        max_queued_requests=settings.max_queued_requests + places,  # never reached: an ingress refuses before it
        autoscaling_config=AutoscalingConfig(
            min_replicas=settings.ray_min_replicas,
            max_replicas=settings.ray_max_replicas,
            target_ongoing_requests=settings.ray_target_requests,
        ),
        ray_actor_options={"num_cpus": settings.ray_num_cpus, "num_gpus": settings.ray_num_gpus},
        **_life(settings),
    )(ModelReplica)
    return deployment.bind(settings, model_id, board)


def _life(settings: Settings) -> dict[str, Any]:
    """A replica that is to go ends its requests first; one that has died is missed soon."""
    return {
        "logging_config": {"enable_access_log": False},  # the application logs each request itself
        "graceful_shutdown_timeout_s": settings.timeout_seconds,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": HEALTH_CHECK_EVERY_S,
    }


def _board() -> Any:
    """Outlives whoever deploys, so that deploying again keeps counters and changed settings."""
    actor = ray.remote(BoardActor).options(
        name="board",
        namespace=NAME,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_concurrency=MAX_LISTENERS,
        num_cpus=0,
    )
    return actor.remote()
