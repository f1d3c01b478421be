"""Deploys the application, on a cluster or on a Ray of its own."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from threading import Event

import ray
from ray import serve
from ray.serve.config import ProxyLocation

from app.core.settings import Settings
from app.ray.deployment import NAME, application

OBJECT_STORE_BYTES = 100_000_000
"""Events are too small to pass through it."""

MAX_SOCKET_BYTES = 107
"""The longest path of a socket on Linux."""
SESSION_BYTES = len("/ray/session_2026-01-31_12-00-00_123456_4194304/sockets/plasma_store")
"""The part of a path that Ray adds to its folder for the longest of its sockets."""

logger = logging.getLogger(__name__)


def deploy(settings: Settings) -> None:
    """Deploys on the cluster that is named, or that this process is part of.

    The application runs there without this process, until `serve shutdown`. If it is deployed already, it is updated
    replica by replica.

    Raises:
        WrongSetting: the settings do not go together.
    """
    if not ray.is_initialized():
        ray.init()
    serve.start(proxy_location=ProxyLocation.EveryNode, http_options={"host": settings.host, "port": settings.port})
    serve.run(application(settings), name=NAME, route_prefix="/")
    logger.info("listening on http://%s:%d", settings.host, settings.port)


def serve_here(settings: Settings) -> None:
    """Serves on this machine alone, until the process gets a signal to stop.

    Raises:
        WrongSetting: the settings do not go together.
    """
    with _folder() as folder:
        ray.init("local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, _temp_dir=folder)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray's own handler would leave requests unanswered
        try:
            deploy(settings)
            Event().wait()
        except KeyboardInterrupt:
            logger.info("stopping")
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]
            ray.shutdown()


@contextmanager
def _folder() -> Iterator[str | None]:
    """The folder for Ray's sockets and logs: `None` for its own choice, or a short one where that is too long."""
    chosen = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if len(os.fsencode(chosen)) + SESSION_BYTES <= MAX_SOCKET_BYTES:
        yield None
        return
    with TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        logger.warning("%s is too long for the paths of Ray's sockets; they are in %s", chosen, folder)
        yield folder
