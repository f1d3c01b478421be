"""The code around httpx that both clients share: calls to requests, answers and failures to the caller's types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from reynard_diffusion.body import encoded
from reynard_diffusion.calls import Call, StreamCall
from reynard_diffusion.errors import ConnectionLost, ServerUnreachable, UnexpectedAnswer
from reynard_diffusion.options import ClientOptions
from reynard_diffusion.problems import problem_of

SERVER_SENT_EVENTS = "text/event-stream"
"""The framing with a sign of life while nothing happens, so that a timeout means that the server is gone."""

JSON = {"Content-Type": "application/json"}

T = TypeVar("T")


def request_of(call: Call[Any] | StreamCall, options: ClientOptions) -> dict[str, Any]:
    """The arguments of httpx's `build_request`.

    Raises:
        InvalidRequest: a value cannot be sent.
    """
    if isinstance(call, StreamCall):
        headers = {"Accept": SERVER_SENT_EVENTS, **JSON, **options.headers(is_admin=False)}
        return {"method": "POST", "url": call.path, "content": encoded(call.body), "headers": headers}
    headers = options.headers(is_admin=call.is_admin or (call.shows_admins_more and bool(options.admin_token)))
    if call.body is None:
        return {"method": call.method, "url": call.path, "headers": headers}
    return {"method": call.method, "url": call.path, "content": encoded(call.body), "headers": JSON | headers}


def answer_to(call: Call[T], response: httpx.Response) -> T:
    """The result of the call.

    Raises:
        DiffusionError: the answer reports an error, or is not one of this API.
    """
    if response.status_code not in call.answers:
        raise problem_of(response.status_code, response.headers, response.content)
    try:
        return call.read(response.json())
    except (ValueError, KeyError, TypeError) as error:
        if response.status_code != 200:
            raise problem_of(response.status_code, response.headers, response.content) from None
        raise _unexpected(response) from error


def check_stream(response: httpx.Response) -> None:
    """Checks that a successful answer is a stream.

    Raises:
        UnexpectedAnswer: it is not.
    """
    if not response.headers.get("content-type", "").startswith(SERVER_SENT_EVENTS):
        raise _unexpected(response)


def _unexpected(response: httpx.Response) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"{response.url} answered {response.status_code}, but not as a Reynard Diffusion server does; check the URL"
    )


@contextmanager
def failures_translated(options: ClientOptions) -> Iterator[None]:
    """Turns the errors of httpx into DiffusionErrors."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ServerUnreachable(
            f"no server answers at {options.destination} ({error}); start one with 'reynard-diffusion serve', or give "
            "its URL"
        ) from error
    except httpx.TimeoutException as error:
        raise ConnectionLost(
            f"{options.url} said nothing for {options.timeout_s:g} s; ask for less, or raise timeout_s"
        ) from error
    except httpx.RequestError as error:
        raise ConnectionLost(f"the connection to {options.destination} broke ({error}); ask again") from error
