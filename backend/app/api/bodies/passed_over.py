"""A note in the log, once for each field of requests that is passed over."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from app.core.complaints import echo

MAX_NAMES = 100
"""The bound of names that are logged: a client may make up names for ever."""

logger = logging.getLogger(__name__)


class PassedOver:
    """Remembers the names that the log has already seen.

    Args:
        calls: what the log calls the requests, such as their path.
    """

    def __init__(self, calls: str) -> None:
        self._calls = calls
        self._names: set[str] = set()

    def note(self, names: Iterable[str]) -> None:
        """Logs the new ones among `names`."""
        for name in map(str, map(echo, names)):
            if name not in self._names and len(self._names) < MAX_NAMES:
                self._names.add(name)
                logger.info("%s passes over the field %r, which this server does not know", self._calls, name)
