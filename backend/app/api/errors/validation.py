"""Complaints about the values of a request, field by field, as its answer reports them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import ErrorDetails

from app.api.errors.problem import FieldError
from app.core.complaints import complaints


def field_errors(errors: Iterable[ErrorDetails], given: Any) -> list[FieldError]:
    """The mistakes in the fields of a request, at most `MAX_COMPLAINTS`.

    Args:
        given: what was validated.
    """
    return [
        FieldError(field=complaint.path, message=complaint.message, value=complaint.value)
        for complaint in complaints(errors, given)
    ]
