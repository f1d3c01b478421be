"""Starts the server on Ray: `python serve_ray.py`, on the cluster of `RAY_ADDRESS`, or on this machine alone."""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec

from app.api.access.auth import is_loopback_name
from app.core.logging import configure_logging
from app.core.settings import WrongSetting, load_settings, unknown_settings
from app.server import create_app

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # sends no statistics
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux too this keeps a Ray of one machine on loopback
}
"""The variables that Ray reads when it is imported."""

TIME_LIMIT_OF_SERVE = "RAY_SERVE_REQUEST_PROCESSING_TIMEOUT_S"
"""The variable for a timeout that ends a request with 408, which makes clients send it again."""

logger = logging.getLogger("serve_ray")


def main() -> int:
    if find_spec("ray") is None:
        sys.stderr.write(
            "ray is not installed; pip install 'reynard-diffusion[ray]', or in backend/ ./reynard_diffusion '.[ray]'\n"
        )
        return 2
    try:
        settings = load_settings()
        create_app(settings)  # what is wrong with the settings is told here, and not in a replica's log
        configure_logging(settings)
        for name in unknown_settings():
            logger.warning("%s is not a setting of this version; it has no effect", name)
        if not settings.admin_token.get_secret_value() and not is_loopback_name(settings.host):
            logger.warning("admin_token is empty, so nobody but this machine can make admin calls")
        is_cluster = bool(os.environ.get("RAY_ADDRESS"))
        if not is_cluster and os.environ.pop(TIME_LIMIT_OF_SERVE, ""):
            logger.warning("%s is left out: DIFFUSION_TIMEOUT_SECONDS ends requests, with 504", TIME_LIMIT_OF_SERVE)
        if not is_cluster:
            os.environ.update({name: value for name, value in RAY_ENVIRONMENT.items() if name not in os.environ})
        from app.ray.start import deploy, serve_here  # imports ray, which takes seconds

        (deploy if is_cluster else serve_here)(settings)
    except WrongSetting as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
