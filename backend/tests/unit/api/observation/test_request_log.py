from __future__ import annotations

import logging

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.observation.request_log import RequestLog
from app.api.wire.disconnect import note_departure
from app.api.wire.request_id import RequestId
from app.core.logging import NOT_FIELDS
from tests.unit.api.asgi import Client, http_scope


async def logged(caplog: pytest.LogCaptureFixture, app: object, path: str = "/x") -> dict[str, object]:
    caplog.set_level(logging.INFO)
    await Client().call(RequestId(RequestLog(app)), http_scope(path))  # type: ignore[arg-type]
    (record,) = caplog.records
    return {name: value for name, value in vars(record).items() if name not in NOT_FIELDS}


async def test_a_request_is_logged_in_one_line_with_call_and_outcome(caplog: pytest.LogCaptureFixture) -> None:
    fields = await logged(caplog, Response("prompt", status_code=201))
    assert set(fields) == {"request_id", "method", "path", "status", "duration_ms"}
    assert (fields["method"], fields["path"], fields["status"]) == ("POST", "/x", 201)
    assert fields["request_id"]
    assert "prompt" not in caplog.text


async def test_a_client_that_left_is_499(caplog: pytest.LogCaptureFixture) -> None:
    async def left(scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)
        note_departure(scope)

    assert (await logged(caplog, left))["status"] == 499


async def test_a_path_cannot_write_a_line(caplog: pytest.LogCaptureFixture) -> None:
    fields = await logged(caplog, Response(), "/a%0Aforged" + "b" * 500)
    path = str(fields["path"])
    assert path.startswith("/a%0Aforged")
    assert len(path) == 200


@pytest.mark.parametrize(("status", "level"), [(200, logging.DEBUG), (503, logging.INFO)])
async def test_a_probe_that_finds_all_well_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture, status: int, level: int
) -> None:
    caplog.set_level(logging.DEBUG)
    await Client().call(RequestLog(Response(status_code=status)), http_scope("/health/ready"))
    assert [record.levelno for record in caplog.records] == [level]
