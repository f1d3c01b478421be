"""Nothing that a client sends makes a 500, and each refusal is a problem document."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.errors.problem import Problem
from app.services.diffusion.models import DiffusionGenerationParams
from tests.api.serving import Server
from tests.profiles import examples

JSON_TYPE = {"Content-Type": "application/json"}
PATHS = ["/generate", "/generate/stream", "/infill", "/infill/stream", "/config"]

MALFORMED = {
    "cut": b'{"text": "a"',
    "trailing": b'{"text": "a"} {}',
    "single quotes": b"{'text': 'a'}",
    "half a surrogate pair": b'{"text": "\\ud800", "prefix": "\\ud800"}',
    "surrogates the wrong way round": b'{"text": "\\udc00\\ud800"}',
    "half a surrogate pair in a name": b'{"\\ud800": 1}',
    "invalid UTF-8": b'{"text": "\xff\xfe"}',
    "encoded surrogate": b'{"text": "\xed\xa0\x80"}',
    "overlong UTF-8": b'{"text": "\xc0\xaf"}',
    "UTF-16": '{"text": "a"}'.encode("utf-16"),
    "deep list": b'{"text": ' + b"[" * 200_000,
    "deep object": b'{"a":' * 200_000,
    "closed deep list": b"[" * 100_000 + b"]" * 100_000,
    "endless integer": b'{"text": "a", "seed": ' + b"9" * 100_000 + b"}",
    "binary": bytes(range(256)),
    "NUL": b"\0",
    "nothing but space": b"  \n ",
}

INVALID = {
    "list": b"[]",
    "list of objects": b'[{"text": "a"}]',
    "string": b'"text"',
    "number": b"1",
    "null": b"null",
    "NaN": b"NaN",
    "infinite": b'{"text": "a", "prefix": "a", "temperature": 1e999}',
    "not a number": b'{"text": "a", "prefix": "a", "temperature": NaN}',
    "large integer": b'{"text": "a", "prefix": "a", "seed": 1' + b"0" * 400 + b"}",
    "large integer for a float": b'{"text": "a", "prefix": "a", "temperature": 1' + b"0" * 400 + b"}",
    "large negative": b'{"text": "a", "prefix": "a", "max_length": -1' + b"0" * 400 + b"}",
    "boolean for a number": b'{"text": "a", "prefix": "a", "top_k": true}',
    "object for text": b'{"text": {"a": 1}, "prefix": {"a": 1}, "top_k": 0}',
    "list for text": b'{"text": ["a"], "prefix": ["a"], "top_k": 0}',
    "unknown nested": b'{"text": "a", "prefix": "a", "unknown": ' + b"[" * 100 + b"]" * 100 + b"}",
    "unknown names": json.dumps({f"name {n}": n for n in range(20_000)}).encode(),
    "odd name": '{"text": "a", "prefix": "a", "\\u0000\\u202e🙂": 1}'.encode(),
    "long name": b'{"text": "a", "prefix": "a", "' + b"x" * 100_000 + b'": 1}',
    "long value": b'{"text": "a", "prefix": "a", "model_id": "' + b"x" * 100_000 + b'", "top_k": "x"}',
    "long stops": b'{"text": "a", "prefix": "a", "top_k": 0, "stop": [' + b'"a",' * 5_000 + b'"a"]}',
}


def check(answer: tuple[int, dict[str, Any]], status: int, code: str) -> None:
    assert (answer[0], answer[1]["code"]) == (status, code), answer
    Problem.model_validate(answer[1])
    assert len(json.dumps(answer[1])) < 10_000, "an error must not repeat what was sent"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(server: Server, path: str, body: bytes) -> None:
    check(server.raw_post(path, body), 400, "malformed_body")


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/v1/fim/completions", "/infill"])
@pytest.mark.parametrize(
    "text", [b'"\\ud800"', b'"\\udc00\\ud800"', b'["\\udfff"]', b'{"\\ud800": 1}', b'"\xed\xa0\x80"']
)
def test_half_a_pair_is_malformed_on_every_face(server: Server, path: str, text: bytes) -> None:
    body = b'{"prompt": %b, "input_prefix": %b, "messages": [{"role": "user", "content": %b}]}' % (text, text, text)
    answer = httpx.post(server.url + path, content=body, headers=JSON_TYPE)
    assert (answer.status_code, "not valid JSON" in answer.text) == (400, True)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID.keys())
def test_invalid(server: Server, path: str, body: bytes) -> None:
    check(server.raw_post(path, body), 422, "invalid_parameters")


@pytest.mark.parametrize("path", PATHS)
def test_empty_body(server: Server, path: str) -> None:
    check(server.raw_post(path, b""), 400, "malformed_body")
    check(server.raw_post(path, b"", Content_Length="", Content_Type=""), 400, "malformed_body")


@pytest.mark.parametrize("path", PATHS)
def test_wrong_content_type(server: Server, path: str) -> None:
    for content_type in ("", "text/plain", "multipart/form-data; boundary=x", "application/jsonx", "\xff", ";", "/"):
        check(server.raw_post(path, b'{"text": "a"}', Content_Type=content_type), 415, "unsupported_media_type")


@pytest.mark.parametrize("path", PATHS)
def test_too_large_as_declared(server: Server, path: str) -> None:
    head = f"POST /api/diffusion{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    status, body = server.raw(f"{head}Content-Length: 5000000\r\nConnection: close\r\n\r\n".encode())
    check((status, json.loads(body)), 413, "body_too_large")


@pytest.mark.parametrize("path", PATHS)
def test_too_large_in_chunks(server: Server, path: str) -> None:
    def chunks() -> Any:
        for _ in range(80):
            yield b" " * 65_536

    response = server.session.post(
        f"{server.url}/api/diffusion{path}", data=chunks(), headers={"Content-Type": "application/json"}, timeout=60
    )
    check((response.status_code, response.json()), 413, "body_too_large")


@pytest.mark.parametrize("text", ["\0", "a\0b", "\u202e", "\ufeff", "🙂" * 5_000, "\r\n\t", "\U0010ffff", "a" * 10_000])
@pytest.mark.parametrize("model_id", ["dreamon", "llada"])
def test_any_text_is_answered(server: Server, model_id: str, text: str) -> None:
    answer = server.answer("/generate", {"text": text, "model_id": model_id, "max_length": 1})
    assert answer["success"]


def test_the_last_of_equal_names_counts(server: Server) -> None:
    body = b'{"text": "a", "text": "b", "model_id": "no-such", "model_id": "words", "max_length": 1}'
    status, answer = server.raw_post("/generate", body)
    assert (status, answer["model_id"]) == (200, "words")


@pytest.mark.parametrize(
    "target",
    ["/api/diffusion/%00", "/api/diffusion/%ff%fe", "/%F0%9F%99%82", "//api/diffusion/models", "/api/diffusion/../x",
     "/api/diffusion/models/%2e%2e/%2e%2e/etc/passwd", "/" + "a" * 8_000],
)  # fmt: skip
def test_odd_paths_are_not_found(server: Server, target: str) -> None:
    status, body = server.raw(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    check((status, json.loads(body)), 404, "not_found")


@pytest.mark.parametrize(
    "accept", ["\xff", "," * 1_000, "text/event-stream;q=", "a/b/c", ";", "text/event-stream;q=nan"]
)
def test_odd_accept_headers_are_json_lines(server: Server, accept: str) -> None:
    body = {"text": "x", "model_id": "words", "max_length": 1}
    response = server.post("/generate/stream", body, headers={"Accept": accept.encode("latin-1")})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [name for name in DiffusionGenerationParams.model_fields if name != "model_id"]


@examples(200)
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), ANYTHING, max_size=6))
def test_any_object_is_answered_or_refused(server: Server, body: dict[str, Any]) -> None:
    sent = json.dumps({"text": "x", **body, "model_id": "words"}).encode()
    response = server.session.post(f"{server.url}/api/diffusion/generate", data=sent, headers=JSON_TYPE, timeout=60)
    assert response.status_code in (200, 400, 422), response.text
    response.json()


def test_nothing_above_was_unexpected(server: Server) -> None:
    assert "unexpected error" not in server.log
    assert "Exception in ASGI application" not in server.log
    assert "was never retrieved" not in server.log
