"""Errors of the service; `api/errors/table.py` turns each into a status and a code.

ServiceError
├── Refusal               the caller has to change something
│   ├── FieldRefusal          one that may be about a field
│   │   ├── InvalidParameters     a value that this model cannot take
│   │   │   └── UnsupportedOperation  this model cannot do what is asked, whatever the values
│   │   └── ContentRejected       the content filter refuses the request or the answer
│   └── UnknownModel          no model has this id
├── ModelUnavailable      the model, and every model that could stand in for it, cannot be had now
├── ServiceDisabled       the service is switched off
├── Overloaded            the queue is full
├── OutOfMemory           no device has room for the request now
├── GenerationTimeout     the deadline passed; carries the text so far
├── GenerationCancelled   the caller went away or gave up
└── GenerationFailed      the model broke while answering
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self


class ServiceError(Exception):
    """Root of everything that the service raises on purpose. `code` is stable and part of the API."""

    code = "service_error"


class Refusal(ServiceError):
    """The caller has to change something. It is counted as refused and never as a failure."""


class FieldRefusal(Refusal):
    """A refusal that may be about one field.

    Attributes:
        field: name of the request field, or an empty string where several, or none, are meant.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Gives the same error the name that a client has for the field."""
        name = names.get(self.field, self.field)
        message = str(self)
        if message.startswith(self.field):
            self.args = (name + message.removeprefix(self.field),)
        self.field = name
        return self


class InvalidParameters(FieldRefusal):
    """A value that this model cannot take."""

    code = "invalid_parameters"


class UnsupportedOperation(InvalidParameters):
    """This model cannot do what is asked, whatever the values; the message names models that can.

    Attributes:
        operation: what is asked, as `capabilities` calls it.
    """

    code = "unsupported_operation"

    def __init__(self, message: str, *, field: str = "", operation: str = "infill") -> None:
        super().__init__(message, field=field)
        self.operation = operation


class ContentRejected(FieldRefusal):
    """The content filter refuses a field of the request, or the answer. The message names the rule, and never what was
    found."""

    code = "content_rejected"


class UnknownModel(Refusal):
    """No model has this id; the message lists the known ones."""

    code = "unknown_model"


class ModelUnavailable(ServiceError):
    """The model, and every model that could stand in for it, cannot be had now."""

    code = "model_unavailable"
    retry_after_s = 5


class ServiceDisabled(ServiceError):
    """The service is switched off by configuration."""

    code = "disabled"
    retry_after_s = 30


class Overloaded(ServiceError):
    """The queue of waiting requests is full."""

    code = "queue_full"
    retry_after_s = 1


class OutOfMemory(ServiceError):
    """No device has room for the request now, after everything that could be done about it."""

    code = "out_of_memory"
    retry_after_s = 5


class GenerationTimeout(ServiceError):
    """The deadline passed.

    Attributes:
        partial_text: the final text so far.
    """

    code = "timeout"

    def __init__(self, message: str, *, partial_text: str = "") -> None:
        super().__init__(message)
        self.partial_text = partial_text


class GenerationCancelled(ServiceError):
    """The caller went away or gave up, or the server stops; counted as cancelled, never as failed."""

    code = "cancelled"
    retry_after_s = 5


class GenerationFailed(ServiceError):
    """The model broke while answering."""

    code = "generation_failed"
