"""Errors of the clients; each message says what to do.

DiffusionError
├── ServerUnreachable     nobody answers at the URL
├── ConnectionLost        the server said nothing for too long, or an answer broke off
├── UnexpectedAnswer      something answers there that speaks another language
├── AccessDenied          a key or a token is missing or wrong (401, 403)
├── NotFound              no such model, or no such path (404)
├── InvalidRequest        a value is not allowed; `errors` says which (400, 408, 413, 415, 422)
├── RateLimited           more calls than one client may make (429)
├── Unavailable           the server cannot answer now (503)
├── GenerationTimeout     the server's deadline passed; `partial_text` is the text so far (504)
└── ServerFailed          the model or the server broke (all others)
"""

from __future__ import annotations

from typing import NamedTuple


class FieldError(NamedTuple):
    """What is wrong with one field of a request."""

    field: str
    message: str


class DiffusionError(Exception):
    """Root of everything that the clients raise on purpose.

    Attributes:
        status: of the HTTP answer; `None` where there was none, or where a stream had begun well.
        code: stable name of the error, the thing to branch on; empty where no server gave one.
        errors: what is wrong, field by field.
        retry_after_s: when the server thinks that another try may succeed.
        request_id: under which the server's log tells more.
        partial_text: the text so far, where a deadline passed.
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
    """Nobody answers at the URL."""


class ConnectionLost(DiffusionError):
    """The server said nothing for too long, or an answer broke off."""


class UnexpectedAnswer(DiffusionError):
    """Something answers there that speaks another language."""


class AccessDenied(DiffusionError):
    """A key or a token is missing or wrong, or the call is open to the server's own machine only."""


class NotFound(DiffusionError):
    """There is no such model, or no such path."""


class InvalidRequest(DiffusionError):
    """A value is not allowed."""


class RateLimited(DiffusionError):
    """More calls than one client may make."""


class Unavailable(DiffusionError):
    """The server cannot answer now."""


class GenerationTimeout(DiffusionError):
    """The server's deadline passed."""


class ServerFailed(DiffusionError):
    """The model or the server broke."""
