"""Names of requests inside one engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count


class EngineNames:
    """Gives each request the service's id for a name. Clients may have chosen the same id; then the later ones get a
    suffix, for names must differ inside an engine. Belongs to one event loop and one engine."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    @contextmanager
    def taken(self, request_id: str) -> Iterator[str]:
        """The name, which nobody else gets before the block ends."""
        name, numbers = request_id, count(2)
        while name in self._taken:
            name = f"{request_id}~{next(numbers)}"
        self._taken.add(name)
        try:
            yield name
        finally:
            self._taken.remove(name)
