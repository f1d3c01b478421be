"""Errors of the clients; each message says what to do.

DiffusionError
├── ServerUnreachable     nothing answers at the URL
├── ConnectionLost        the server was silent for too long, or an answer broke off
├── UnexpectedAnswer      something answers at the URL that is not this API
├── AccessDenied          a key or a token is missing or wrong (401, 403)
├── NotFound              there is no such model, or no such path (404)
├── InvalidRequest        a value is not allowed; `errors` says which (400, 408, 413, 415, 422)
├── RateLimited           the client has made more calls than it may (429)
├── Unavailable           the server cannot answer now (503)
├── GenerationTimeout     the server's deadline passed; `partial_text` is the text so far (504)
└── ServerFailed          the model or the server broke (all others)
"""

from __future__ import annotations

from typing import NamedTuple


class FieldError(NamedTuple):
    """An error in one field of a request."""

    field: str
    message: str


class DiffusionError(Exception):
    """The root of all errors that the clients raise on purpose.

    Attributes:
        status: the status of the HTTP answer; `None` if there was none, or if a stream had begun well.
        code: the stable name of the error, for programs to branch on; empty if no server gave one.
        errors: the errors field by field.
        retry_after_s: the seconds after which another try may succeed, as the server estimates.
        request_id: the id under which the server's log has more about the request.
        partial_text: the text so far, if a deadline passed.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        errors: tuple[FieldError, ...] = (),
        retry_after_s: float | None = None,
        request_id: str = "",
        partial_text: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = errors
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.partial_text = partial_text


class ServerUnreachable(DiffusionError):
    """Nothing answers at the URL."""


class ConnectionLost(DiffusionError):
    """The server was silent for too long, or an answer broke off."""


class UnexpectedAnswer(DiffusionError):
    """Something answers at the URL that is not this API."""


class AccessDenied(DiffusionError):
    """A key or a token is missing or wrong, or only the server's own machine may make the call."""


class NotFound(DiffusionError):
    """There is no such model, or no such path."""


class InvalidRequest(DiffusionError):
    """A value is not allowed."""


class RateLimited(DiffusionError):
    """The client has made more calls than it may."""


class Unavailable(DiffusionError):
    """The server cannot answer now."""


class GenerationTimeout(DiffusionError):
    """The server's deadline passed."""


class ServerFailed(DiffusionError):
    """The model or the server broke."""
