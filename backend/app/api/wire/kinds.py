"""The kinds of calls. Method and path alone decide them, so they are known before a request is read any further."""

from __future__ import annotations

from enum import Flag, auto

from starlette.types import Scope


class Kind(Flag):
    """The kinds that a face declares of its paths. A call may be of several."""

    GENERATING = auto()
    """A model may have to work for a POST, so POSTs count against the rate limit. Paths that nobody declares are of
    this kind: whoever sends a POST there is counted too."""
    READING = auto()
    """Even a POST only reads, and is not counted."""
    OPEN = auto()
    """Everybody is answered without a key: a page that must load before its reader can give one, or a supervisor."""
    OPERATING = auto()
    """The route checks the admin's right, and so needs no API key."""
    FULLER_FOR_ADMIN = auto()
    """Everybody is answered, and whoever has the admin's right with more."""
    PROBE = auto()
    """Machines ask it every few seconds."""


def note_kind(scope: Scope, kind: Kind) -> None:
    """Remembers what kind of call a request is."""
    scope.setdefault("state", {})["kind"] = kind


def kind_of(scope: Scope) -> Kind:
    """The kind that was noted; where none was, that of a path that nobody declares."""
    kind: Kind = scope.get("state", {}).get("kind", Kind.GENERATING)
    return kind


def is_open_call(scope: Scope) -> bool:
    """Whether everybody is answered without a key."""
    return Kind.OPEN in kind_of(scope)


def is_admin_call(scope: Scope) -> bool:
    """Whether the route checks the admin's right, and so needs no API key."""
    return Kind.OPERATING in kind_of(scope)


def is_fuller_for_admin(scope: Scope) -> bool:
    """Whether everybody is answered, and whoever has the admin's right with more."""
    return Kind.FULLER_FOR_ADMIN in kind_of(scope)


def is_probe(scope: Scope) -> bool:
    """Whether a machine asks it every few seconds."""
    return Kind.PROBE in kind_of(scope)


def is_generating_call(scope: Scope) -> bool:
    """Whether a model may have to work for it. A POST to a path that takes none is refused, and counted like one."""
    return scope["method"] == "POST" and not kind_of(scope) & (Kind.READING | Kind.OPERATING)
