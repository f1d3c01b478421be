"""What is wrong with the values of a request, field by field, as its answer tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import ErrorDetails

from app.api.errors.problem import FieldError
from app.core.complaints import complaints


def field_errors(errors: Iterable[ErrorDetails], given: Any) -> list[FieldError]:
    """At most `MAX_COMPLAINTS`, one per field.

    Args:
        given: what was validated.
    """
    return [
        FieldError(field=complaint.path, message=complaint.message, value=complaint.value)
        for complaint in complaints(errors, given)
    ]
