"""Words that strangers may read: the name of a file or folder, and never where it lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from app.core.settings import LISTED_LOCATIONS, LOCATIONS, DiffusionConfig
from app.services.diffusion.errors import Refusal, ServiceError
from app.services.diffusion.locations import path_at

_QUOTED_PATH = re.compile(r"""(?P<quote>['"`])(?:file://)?(?:[A-Za-z]:)?[/\\~][^'"`\n]*(?P=quote)""")
_PATH = re.compile(r"""(?:file://|(?<![\w.:/\\~-]))(?:[A-Za-z]:[/\\]|~?/|\\\\)[^\s'"`,;:()<>\[\]]+""")

_BASE = re.compile(r"\s*[A-Za-z0-9][A-Za-z0-9._-]+:")
"""The base of an adapter; a single letter before a colon is the drive of a path."""


def public_text(text: str, *, location: str | None = None) -> str:
    """The text with the last part of each absolute path only.

    Args:
        location: a folder that the text may name, which may hold blanks and the like.
    """
    for folder in _spellings(location):
        text = text.replace(f"{folder}/", "").replace(folder, _name(folder))
    text = _QUOTED_PATH.sub(lambda found: found["quote"] + _name(found[0].strip(found["quote"])) + found["quote"], text)
    return _PATH.sub(lambda found: _name(found[0]), text)


def public_message(error: ServiceError) -> str:
    """The message of an error for the client. A refusal is sent as it is: its paths are the client's own."""
    return str(error) if isinstance(error, Refusal) else public_text(str(error))


def public_configuration(config: DiffusionConfig) -> dict[str, Any]:
    """The settings, of which those that say where something lies give its name only."""
    values = config.model_dump()
    shorten: dict[str, Callable[[str], str]] = {
        **dict.fromkeys(LOCATIONS, _name),
        **dict.fromkeys(LISTED_LOCATIONS, _names),
    }
    return values | {name: shortened(values[name]) for name, shortened in shorten.items()}


def _spellings(location: str | None) -> Iterator[str]:
    if location and re.search(r"[/\\]", location):
        folder = path_at(location)
        yield from sorted({location.rstrip("/"), str(folder), str(folder.absolute())}, key=len, reverse=True)


def _name(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _names(items: str) -> str:
    """The items, each `id=location` shortened to `id=name`, and `id=base:location` to `id=base:name`."""
    return ",".join(map(_shortened, items.split(",")))


def _shortened(item: str) -> str:
    model_id, sign, location = item.partition("=")
    base = _BASE.match(location)
    prefix = base[0] if base else ""
    return f"{model_id}={prefix}{_name(location.removeprefix(prefix))}" if sign else _name(item)
