"""Encodes the body of a request as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from reynard_diffusion.errors import FieldError, InvalidRequest


def encoded(body: Mapping[str, Any]) -> bytes:
    """The body as bytes of JSON; numbers may be NumPy's.

    Raises:
        InvalidRequest: JSON cannot express a value; the error names its field.
    """
    try:
        return _as_json(dict(body))
    except (TypeError, ValueError, RecursionError):
        errors = [*_complaints(body)]
    message = "; ".join(error.message for error in errors) or "the request cannot be written as JSON"
    raise InvalidRequest(message, code="invalid_parameters", errors=tuple(errors))


def _as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> int | float:
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"{type(value).__name__} is neither text nor a number, true, false, a list or a dictionary")


def _complaints(body: Mapping[str, Any]) -> list[FieldError]:
    complaints = []
    for name, value in body.items():
        try:
            _as_json(value)
        except UnicodeEncodeError:
            reason = "holds half of a surrogate pair, which is no text; decode it with errors='replace'"
            complaints.append(FieldError(str(name), f"{name} {reason}"))
        except (TypeError, ValueError, RecursionError) as error:
            complaints.append(FieldError(str(name), f"{name} cannot be sent: {error}"))
    return complaints
