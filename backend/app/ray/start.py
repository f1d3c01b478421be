"""Deploys the application, on a cluster or on a Ray of its own."""

from __future__ import annotations

import logging
import signal
from threading import Event

import ray
from ray import serve
from ray.serve.config import ProxyLocation

from app.core.settings import Settings
from app.ray.deployment import NAME, application

OBJECT_STORE_BYTES = 100_000_000
"""Events are too small to pass through it."""

logger = logging.getLogger(__name__)


def deploy(settings: Settings) -> None:
    """On the cluster that is named, or that this process is part of; it goes on there without this process, until
    `serve shutdown`. Where it is deployed already, it is updated replica by replica.

    Raises:
        WrongSetting: the settings do not go together.
    """
    if not ray.is_initialized():
        ray.init()
    serve.start(proxy_location=ProxyLocation.EveryNode, http_options={"host": settings.host, "port": settings.port})
    serve.run(application(settings), name=NAME, route_prefix="/")
    logger.info("listening on http://%s:%d", settings.host, settings.port)


def serve_here(settings: Settings) -> None:
    """On this machine alone, until the process is told to stop.

    Raises:
        WrongSetting: the settings do not go together.
    """
    ray.init("local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray's own handler would leave requests unanswered
    try:
        deploy(settings)
        Event().wait()
    except KeyboardInterrupt:
        logger.info("stopping")
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()
