"""Pages of other origins: which may read answers, and may ask at all where the server is in a private network."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

READABLE_HEADERS = (
    "Retry-After",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "X-Request-ID",
    "X-Should-Retry",
)
"""The headers that pages of other origins may read."""


class CrossOrigin(CORSMiddleware):
    """Lets pages of `origins` read answers. They send keys and tokens themselves: no cookie ever counts here."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=("*",),  # client libraries send headers of their own
            allow_credentials=False,
            allow_private_network=True,  # browsers ask before a page from the internet may speak to this machine
            expose_headers=READABLE_HEADERS,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a preflight; Starlette would allow a private network also where it refuses the origin."""
        response = super().preflight_response(request_headers)
        if response.status_code != 200:
            del response.headers["Access-Control-Allow-Private-Network"]
        return response
