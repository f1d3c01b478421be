"""JSON that always encodes: one line of valid UTF-8, whatever a model or a client put into the value."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import JSONResponse

# Legal inside a JSON string, yet many clients split text into lines here; a line must stay one line.
LINE_BREAKS = tuple((mark.encode(), f"\\u{ord(mark):04x}".encode()) for mark in "\x85\u2028\u2029")


def json_bytes(value: Any) -> bytes:
    """`value` as JSON. Half a surrogate pair becomes `?`, a number that is not finite `null`, an object its `str`."""
    try:
        encoded = to_json(value, inf_nan_mode="null", serialize_unknown=True)
    except ValueError:
        encoded = to_json(_encodable(value))
    for mark, escape in LINE_BREAKS:
        encoded = encoded.replace(mark, escape)
    return encoded


def _encodable(value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case str():
            return value.encode("utf-8", "replace").decode()
        case float():
            return value if math.isfinite(value) else None
        case BaseModel():
            return _encodable(dict(value))
        case dict():
            return {str(_encodable(key)): _encodable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_encodable(item) for item in value]
        case _:
            return _encodable(str(value))


class JsonResponse(JSONResponse):
    """A plain JSON answer."""

    def render(self, content: Any) -> bytes:
        return json_bytes(content)
