"""A cache of compiled constraints, bounded in bytes."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from operator import attrgetter
from threading import Lock
from typing import Any

from app.text.constraints.compile import Kind, compile_constraint
from app.text.constraints.compiled import CompiledConstraint
from app.text.constraints.limits import DEFAULT_LIMITS, Limits
from app.text.constraints.vocabulary import Vocabulary

MAX_BYTES = 64 * 2**20

Key = tuple[bytes, bytes, Limits]
SizeOf = Callable[[CompiledConstraint], int]


class ConstraintCache:
    """Compiled constraints by their content and vocabulary; those used longest ago go first.

    Safe for use by threads. One that is asked for twice while it is compiled is compiled once; errors are not cached.

    Args:
        max_bytes: what all that is cached may hold together.
        size_of: gives the bytes that one comes to hold, with what others derive of it and keep as long as it is cached.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, size_of: SizeOf = attrgetter("nbytes")) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._size_of = size_of
        self._lock = Lock()
        self._cached: OrderedDict[Key, tuple[CompiledConstraint, int]] = OrderedDict()
        self._compiling: dict[Key, Lock] = {}

    def __len__(self) -> int:
        return len(self._cached)

    def compiled(
        self, kind: Kind, source: Any, vocabulary: Vocabulary, *, limits: Limits = DEFAULT_LIMITS
    ) -> CompiledConstraint:
        """The cached constraint, or a new one; raises ConstraintError as `compile_constraint` does."""
        key = (_content(kind, source), vocabulary.fingerprint, limits)
        found = self._get(key)
        return found or self._once(key, lambda: compile_constraint(kind, source, vocabulary, limits=limits))

    def _get(self, key: Key) -> CompiledConstraint | None:
        with self._lock:
            found = self._cached.get(key)
            if found is None:
                return None
            self._cached.move_to_end(key)
            return found[0]

    def _once(self, key: Key, build: Callable[[], CompiledConstraint]) -> CompiledConstraint:
        """Compiles under a lock of the key, so that a second thread waits and finds the result."""
        with self._lock:
            turn = self._compiling.setdefault(key, Lock())
        with turn:
            try:
                found = self._get(key)
                return found or self._put(key, build())
            finally:
                with self._lock:
                    self._compiling.pop(key, None)

    def _put(self, key: Key, constraint: CompiledConstraint) -> CompiledConstraint:
        """Caches a constraint, unless it is larger than the whole cache."""
        size = self._size_of(constraint)
        if size <= self.max_bytes:
            with self._lock:
                self._cached[key] = constraint, size
                self.nbytes += size
                while self.nbytes > self.max_bytes:
                    self.nbytes -= self._cached.popitem(last=False)[1][1]
        return constraint


def _content(kind: Kind, source: Any) -> bytes:
    """A name of the content; the order of a schema's properties belongs to it."""
    return sha256(json.dumps([kind, source]).encode()).digest()
