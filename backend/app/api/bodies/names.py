"""Fields with more than one name, which clients of several APIs have for the same thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationInfo

T = TypeVar("T")


def same_as(other: str) -> Callable[[T | None, ValidationInfo], T | None]:
    """A validator of a field that is another name of `other`, which the model declares before it: one body has not both
    with different values, of which one would be passed over."""

    def checked(value: T | None, info: ValidationInfo) -> T | None:
        if value is not None and info.data.get(other) not in (None, value):
            raise ValueError(f"{info.field_name} and {other} say the same in two ways; leave {other} out")
        return value

    return checked
