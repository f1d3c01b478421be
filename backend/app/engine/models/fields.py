"""Reading single values of a `config.json`, so that a wrong one is named."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any

from app.engine.interface.errors import CheckpointError

MAX_SIZE = 2**24
"""No dimension of a real checkpoint comes near; a damaged file must not ask for the moon."""


class ConfigFields:
    """A checkpoint's raw config. An absent key and `null` mean the same: take the default, or complain.

    Every method raises CheckpointError for a value that is missing or of the wrong kind.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.integer_or_none(key)
        value = default if value is None else value
        if value is None:
            raise CheckpointError(f"config.json lacks {key!r}")
        return value

    def integers(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """One number or a list of them, each once and in their order."""
        value = self._raw.get(key)
        values = value if isinstance(value, list) else [value]
        found = (ConfigFields({key: each}).integer_or_none(key) for each in values)
        numbers = tuple(dict.fromkeys(number for number in found if number is not None))
        if not numbers and default is None:
            raise CheckpointError(f"config.json lacks {key!r}")
        return numbers or default or ()

    def integer_or_none(self, key: str) -> int | None:
        value = self._raw.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_SIZE:
            raise _wrong(key, value, f"a whole number up to {MAX_SIZE}")
        return value

    def positive_number(self, key: str, default: float) -> float:
        value = self._raw.get(key)
        if value is None:
            return default
        # A Python integer may be too large for a float; comparing is safe where converting is not.
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 < value < 1e30 or math.isnan(value):
            raise _wrong(key, value, "a positive number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._raw.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise _wrong(key, value, "true or false")
        return value

    def refuse_other_than(self, expected: Mapping[str, Any], family: str) -> None:
        """The published code has switches that no release of a family uses; say so instead of guessing."""
        for key, value in expected.items():
            if self._raw.get(key) not in (None, value):
                given = reprlib.repr(self._raw[key])
                raise CheckpointError(f"config.json: {key}={given} is not supported for {family}; expected {value!r}")


def even_share(width: int, num_heads: int) -> int:
    """Gives the dimensions of a head where the heads share the width, as in families whose config names none.

    Raises:
        CheckpointError: the shares are not whole, or cannot be rotated in halves. A number of heads below 1 is left to
            the check of all sizes (`families/build.py`).
    """
    head_dim = width // max(num_heads, 1)
    if num_heads > 0 and (width % num_heads or head_dim % 2):
        raise CheckpointError(f"config.json: width {width} does not split into {num_heads} even heads")
    return head_dim


def _wrong(key: str, value: Any, expected: str) -> CheckpointError:
    return CheckpointError(f"config.json: {key}={reprlib.repr(value)} must be {expected}")
