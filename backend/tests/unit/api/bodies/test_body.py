from __future__ import annotations

import json
import time
from typing import Any

import pytest
from starlette.requests import Request

from app.api.bodies.body import body_of, object_for
from app.api.errors.table import InvalidBody, MalformedBody, UnsupportedMediaType
from app.core.complaints import MAX_COMPLAINTS
from app.core.settings import DiffusionConfig
from app.services.diffusion.models import DiffusionGenerationParams
from tests.unit.api.asgi import Client, body_messages, http_scope

JSON = {"Content-Type": "application/json"}


def request(body: bytes, headers: dict[str, str]) -> Request:
    return Request(http_scope(headers=headers), Client(*body_messages(body)).receive)


async def read(body: bytes, headers: dict[str, str] = JSON) -> DiffusionGenerationParams:
    return await body_of(DiffusionGenerationParams)(request(body, headers))


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"],
)
async def test_json_is_read(content_type: str) -> None:
    params = await read('{"text": "h\\u00e9 🙂\\u0000", "temperature": 1}'.encode(), {"Content-Type": content_type})
    assert (params.text, params.temperature) == ("hé 🙂\0", 1.0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "json"},
        {"Content-Type": "text/json"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
)
async def test_a_body_that_is_not_declared_as_json_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaType):
        await read(b'{"text": "a"}', headers)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"{'text': 'a'}", id="python"),
        pytest.param(b'{"text": "a"} x', id="trailing"),
        pytest.param(b'{"text": "\\ud800"}', id="half a surrogate pair"),
        pytest.param(b'{"text": "\xff"}', id="invalid UTF-8"),
        pytest.param('{"text": "a"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"text": ' + b"[" * 100_000, id="deep list"),
        pytest.param(b'{"text": ' * 100_000, id="deep object"),
        pytest.param(b'{"text": "a", "seed": 1' + b"0" * 5000 + b"}", id="endless number"),
        pytest.param(b"\x00\x01\x02", id="binary"),
    ],
)
async def test_a_body_that_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        await read(body)


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"NaN", b"{}", b'{"text": "a", "seed": 1e999}'])
async def test_json_that_does_not_fit_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        await read(body)


async def test_the_last_of_equal_names_counts() -> None:
    assert (await read(b'{"text": "a", "text": "b"}')).text == "b"


async def test_very_many_unknown_fields_are_refused_quickly() -> None:
    body = json.dumps({"text": "a"} | {f"f{n}": [] for n in range(70_000)}).encode()
    started_s = time.process_time()
    with pytest.raises(InvalidBody) as caught:
        await read(body)
    assert time.process_time() - started_s < 20  # with time that grows by the square it would be minutes
    assert len(caught.value.errors) == MAX_COMPLAINTS


@pytest.mark.parametrize("content", [{}, {"top_k": 3}, {"unknown": {"deep": [1, None]}}])
async def test_an_object_is_left_for_later_validation(content: dict[str, Any]) -> None:
    read_object = object_for(DiffusionConfig)
    assert await read_object(request(json.dumps(content).encode(), JSON)) == content


async def test_a_byte_order_mark_is_no_part_of_the_body() -> None:
    assert (await read(b"\xef\xbb\xbf" + b'{"text": "a"}')).text == "a"


async def test_fields_that_ask_for_nothing_are_passed_over() -> None:
    params = await read(b'{"text": "a", "stream_mode": null, "stop": "", "typical_p": 1, "x": null, "model_id": ""}')
    assert params == DiffusionGenerationParams(text="a")
    with pytest.raises(InvalidBody, match="unknown field 'x'"):
        await read(b'{"text": "a", "x": 0}')
    with pytest.raises(InvalidBody, match="text=null must be a string"):
        await read(b'{"text": null}')
