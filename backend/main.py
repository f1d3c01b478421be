"""Starts the server: `python main.py`."""

from __future__ import annotations

import logging
import signal
import sys

from app.core.logging import configure_logging
from app.core.settings import WrongSetting, load_settings, unknown_settings
from app.server import create_app, serve

logger = logging.getLogger(__name__)


def main() -> int:
    try:
        settings = load_settings()
        app = create_app(settings)
    except WrongSetting as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings)
    for name in unknown_settings():
        logger.warning("%s is not a setting of this version; it has no effect", name)
    # Who tells it to stop gets the same end: with Ctrl-C and with SIGTERM it finishes, and that is a success.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return 0 if serve(app) else 1


if __name__ == "__main__":
    sys.exit(main())
