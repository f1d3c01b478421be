"""The server as a process of its own."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

from app.cli import exit_codes

logger = logging.getLogger(__name__)


def run_server(**given: Any) -> int:
    """Serves until the process is asked to stop; returns its exit code.

    Args:
        given: settings that win over the environment and `.env`.
    """
    from app.core.garbage import postpone_collections
    from app.core.logging import configure_logging
    from app.core.settings import WrongSetting, load_settings, unknown_settings

    postpone_collections()
    from app.server import create_app, serve

    try:
        settings = load_settings(**given)
        app = create_app(settings)
    except WrongSetting as error:
        sys.stderr.write(f"{error}\n")
        return exit_codes.WRONG_USAGE
    configure_logging(settings)
    for name in unknown_settings():
        logger.warning("%s is not a setting of this version; it has no effect", name)
    # Ctrl-C and SIGTERM stop the server the same way: it finishes, and that is a success. This also holds where a
    # script has started it in the background, with SIGINT ignored.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    return exit_codes.OK if serve(app) else exit_codes.FAILED
