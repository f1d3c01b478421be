from __future__ import annotations

import asyncio

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors.table import InvalidBody, RateLimited, TooManyConnections, problem_response
from app.api.observation.refused_calls import RefusedCalls
from app.api.wire.disconnect import note_departure
from app.api.wire.request_id import call_of
from app.services.diffusion import InvalidParameters
from app.services.diffusion.reports import DiffusionStatistics
from tests.fakes import WordsModel
from tests.unit.api.asgi import Client, http_scope
from tests.unit.services.diffusion.serving import serving


def answering(error: Exception) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await problem_response(scope, error)(scope, receive, send)

    return app


async def counted_after(app: ASGIApp, scope: Scope) -> DiffusionStatistics:
    async with serving(WordsModel()) as service:
        await Client().call(RefusedCalls(app, service), scope)
        return service.statistics()


@pytest.mark.parametrize(
    ("error", "refusals"),
    [
        (InvalidBody([]), {"invalid_parameters": 1}),
        (RateLimited("m", retry_after_s=1), {"rate_limited": 1}),
        (TooManyConnections("m"), {}),
        (RuntimeError(), {}),
    ],
)
async def test_a_generating_call_with_a_4xx_is_counted_by_code(error: Exception, refusals: dict[str, int]) -> None:
    for path in ("/api/diffusion/generate", "/v1/completions", "/infill", "/no-such"):
        counted = await counted_after(answering(error), http_scope(path))
        assert counted.refusals == refusals
        assert counted.total_requests == 0


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/models/x"), ("POST", "/api/diffusion/config"), ("GET", "/metrics")]
)
async def test_other_calls_are_none(method: str, path: str) -> None:
    counted = await counted_after(answering(InvalidBody([])), http_scope(path, method=method))
    assert counted.refused_requests == 0


async def test_a_counted_failure_is_not_counted_again() -> None:
    async with serving(WordsModel()) as service:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            service.count_refusal(call_of(scope), "unknown_model")
            await problem_response(scope, InvalidParameters("m"))(scope, receive, send)

        await Client().call(RefusedCalls(app, service), http_scope())
        assert service.statistics().refusals == {"unknown_model": 1}


async def test_a_client_that_left_was_not_refused() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        note_departure(scope)
        await Response(status_code=400)(scope, receive, send)

    assert (await counted_after(app, http_scope())).refused_requests == 0


async def test_a_cancelled_call_is_cancelled() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await counted_after(app, http_scope())
