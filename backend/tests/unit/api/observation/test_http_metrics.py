from __future__ import annotations

import pytest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.api.observation.http_metrics import HttpMetrics
from app.api.observation.instruments import Instruments
from app.api.wire.disconnect import note_departure
from tests.unit.api.asgi import Client, http_scope


def count(instruments: Instruments, route: str, status: str) -> float | None:
    return instruments.registry.get_sample_value("reynard_http_responses_total", {"route": route, "status": status})


async def test_an_answer_is_counted_under_the_template_of_its_route() -> None:
    instruments = Instruments()

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = Route("/models/{model_id}", Response())
        await Response(status_code=201)(scope, receive, send)

    await Client().call(HttpMetrics(routed, instruments), http_scope("/models/made-up"))
    assert count(instruments, "/models/{model_id}", "2xx") == 1


async def test_a_path_that_is_none_has_no_label_of_its_own() -> None:
    instruments = Instruments()
    for path in ("/a", "/b"):
        await Client().call(HttpMetrics(Response(status_code=404), instruments), http_scope(path))
    assert count(instruments, "", "4xx") == 2


async def test_a_client_that_left_is_counted_as_such() -> None:
    instruments = Instruments()

    async def left(scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)
        note_departure(scope)

    await Client().call(HttpMetrics(left, instruments), http_scope())
    assert count(instruments, "", "4xx") == 1


async def test_an_answer_that_broke_is_counted_too() -> None:
    instruments = Instruments()

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        await Client().call(HttpMetrics(broken, instruments), http_scope())
    assert count(instruments, "", "2xx") == 1
