"""The visits of clients: each function is one visit, from connecting to the end, and gives its result."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.soak.client import Connection, Head, Json, call
from tests.soak.ledger import OUTCOME_OF_CODE, Seen, Visit

API = "/api/diffusion"
SSE = "text/event-stream"
TEXTS = ("Once upon a time", "def add(a, b):", "漢字 and 🙂", "The quick brown fox ")
LONG_TEXTS = ("x" * 3_000, "A long walk in the rain. " * 120, "def add(a, b):\n    return a + b\n\n\n" * 80)
"""Canvases as long as the context: what they take while they run must not stay."""

WEATHER = frozenset({"queue_full", "disabled", "out_of_memory", "timeout"})
"""Refusals that any request may meet here: configuration changes and faults are part of the traffic."""

BAD_BODIES: tuple[tuple[bytes, int], ...] = (
    (b"", 400),
    (b'{"text": "a"', 400),
    (b'{"text": "\\ud800"}', 400),
    (b'{"text": ' + b"[" * 20_000, 400),
    (bytes(range(256)), 400),
    (b"[]", 422),
    (b'{"text": ""}', 422),
    (b'{"text": "a", "temperature": 7}', 422),
    (b'{"text": "a", "no_such_field": 1}', 422),
    (json.dumps({"text": "a" * 10_001}).encode(), 422),
)
GARBAGE: tuple[bytes, ...] = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    b"POST /api/diffusion/generate HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/diffusion/generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000,
)
CHANGES: tuple[Json, ...] = (
    {"max_concurrent_requests": 1},
    {"max_concurrent_requests": 4},
    {"max_queued_requests": 0},
    {"temperature": 0.0, "top_k": 5},
    {"timeout_seconds": 0.3},
    {"enabled": False},
    {"model_fallback": False},
)


@dataclass(frozen=True, slots=True)
class Place:
    """The surroundings of a visit, and the random numbers that decide its details."""

    port: int
    dice: random.Random
    changing: asyncio.Lock
    """One configuration change at a time, so that each can be taken back."""


Visitor: TypeAlias = Callable[[Place], Awaitable[Visit]]


# -- requests that are waited for ------------------------------------------------------------------------------------


async def asks_plainly(place: Place) -> Visit:
    path, body = _request(place, place.dice.choice(("dreamon", "llada", "words")))
    return await _plain("plain answer", place, path, body)


async def asks_for_json_lines(place: Place) -> Visit:
    path, body = _request(place, place.dice.choice(("dreamon", "llada", "words")))
    return await _stream("JSON lines", place, path, body)


async def asks_for_events(place: Place) -> Visit:
    path, body = _request(place, place.dice.choice(("dreamon", "llada")))
    return await _stream("Server-Sent Events", place, path, {**body, "stream_mode": "canvas"}, Accept=SSE)


async def reads_slowly(place: Place) -> Visit:
    """Reads the text slowly, through a small buffer, so that the server has to wait."""
    body: Json = {"text": "x", "model_id": "words", "max_length": 400}
    return await _stream("slow reader", place, "/generate", body, pause_s=0.002, receive_buffer_bytes=4_096)


async def asks_a_broken_model(place: Place) -> Visit:
    model_id = place.dice.choice(("breaks-at-once", "breaks-later", "surrogates", "never-ready"))
    visit = _stream if place.dice.random() < 0.5 else _plain
    body: Json = {"text": "x", "model_id": model_id, "max_length": 4}
    return await visit("broken model", place, "/generate", body, allowed={"generation_failed", "model_unavailable"})


async def asks_for_nobody(place: Place) -> Visit:
    body: Json = {"text": "x", "model_id": "no-such-model"}
    return await _plain("unknown model", place, "/generate", body, allowed={"unknown_model"}, may_succeed=False)


# -- requests that are not waited for --------------------------------------------------------------------------------


async def leaves_in_mid_stream(place: Place) -> Visit:
    kind = "leaves in mid-stream"
    path, body = _request(place, place.dice.choice(("endless", "llada", "words")))
    async with Connection(place.port) as connection:
        await connection.ask("POST", f"{API}{path}/stream", json.dumps({**body, "max_length": 1_000}).encode())
        head = await connection.head()
        if head.status != 200:
            return await _refusal(kind, connection, head, time.monotonic())
        async for _ in connection.chunks(head):
            break
        await asyncio.sleep(place.dice.uniform(0, 0.3))
        if place.dice.random() < 0.5:
            connection.reset()
    return Visit(kind, Seen.LEFT, request_id=head.headers["x-request-id"])


async def leaves_before_the_answer(place: Place) -> Visit:
    path, body = _request(place, place.dice.choice(("silent", "endless", "llada")))
    if body["model_id"] == "silent":
        path, body = "/generate", {"text": "x", "model_id": "silent"}
    async with Connection(place.port) as connection:
        await connection.ask("POST", API + path, json.dumps({**body, "max_length": 500}).encode())
        await asyncio.sleep(place.dice.uniform(0, 0.2))
        if place.dice.random() < 0.5:
            connection.reset()
    return Visit("leaves before the answer", Seen.GONE)


async def stops_in_mid_request(place: Place) -> Visit:
    """Sends a part of a request, waits, and leaves the connection half open."""
    head = f"POST {API}/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    whole = f'{head}Content-Length: 100\r\n\r\n{{"text"'.encode()
    async with Connection(place.port) as connection:
        await connection.send(whole[: place.dice.randrange(1, len(whole))])
        await asyncio.sleep(place.dice.uniform(0, 3))
        if place.dice.random() < 0.5:
            connection.reset()
    return Visit("stops in mid-request", Seen.UNCOUNTED)


# -- what is refused -------------------------------------------------------------------------------------------------


async def sends_nonsense(place: Place) -> Visit:
    body, status = place.dice.choice(BAD_BODIES)
    path = place.dice.choice(("/generate", "/generate/stream"))
    async with Connection(place.port) as connection:
        await connection.ask("POST", API + path, body)
        head = await connection.head()
        await connection.body(head)
    complaint = "" if head.status == status else f"status {head.status} instead of {status} for {body[:60]!r}"
    return Visit("bad input", Seen.UNCOUNTED, str(head.status), complaint=complaint)


async def announces_too_much(place: Place) -> Visit:
    async with Connection(place.port) as connection:
        await connection.ask("POST", f"{API}/generate", Content_Length="5000000")
        head = await connection.head()
    complaint = "" if head.status == 413 else f"status {head.status} instead of 413"
    return Visit("too large a body", Seen.UNCOUNTED, str(head.status), complaint=complaint)


async def speaks_no_http(place: Place) -> Visit:
    answer = b""
    with suppress(OSError):  # a server that closes without reading everything resets the connection
        async with Connection(place.port) as connection:
            await connection.send(place.dice.choice(GARBAGE))
            connection.shut()
            answer = await connection.rest()
    is_refused = not answer or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    return Visit("malformed HTTP", Seen.UNCOUNTED, complaint="" if is_refused else f"answered {answer[:60]!r}")


async def is_no_admin(place: Place) -> Visit:
    """Makes every admin call as a client that is not plainly on this machine."""
    method, path = place.dice.choice(
        (
            ("GET", "/admin/stats"),
            ("POST", "/admin/cleanup"),
            ("POST", "/admin/models/llada/reload"),
            ("POST", "/config"),
        )
    )
    disguise = place.dice.choice(
        ({"Host": "example.com"}, {"X_Forwarded_For": "127.0.0.1"}, {"Origin": "https://example.com"}, {"Via": "1.1 x"})
    )
    status, _ = await call(place.port, method, API + path, {} if method == "POST" else None, **disguise)
    complaint = "" if status == 403 else f"{method} {path} from {disguise} was answered {status}"
    return Visit("not an admin", Seen.UNCOUNTED, str(status), complaint=complaint)


# -- administration --------------------------------------------------------------------------------------------------


async def looks_around(place: Place) -> Visit:
    path = place.dice.choice(("/admin/stats", "/admin/health", "/admin/models", "/models", "/config"))
    status, answer = await call(place.port, "GET", API + path)
    complaint = "" if status == 200 or path == "/admin/health" else f"{path} was answered {status}"
    if path == "/admin/stats" and not _adds_up(answer):
        complaint = f"the counters do not add up: {answer}"
    return Visit("observation", Seen.UNCOUNTED, complaint=complaint)


async def reloads(place: Place) -> Visit:
    """Reloads a model, now and then twice at once."""
    path = f"{API}/admin/models/{place.dice.choice(('dreamon', 'llada', 'words'))}/reload"
    calls = [call(place.port, "POST", path) for _ in range(place.dice.choice((1, 2)))]
    answers = await asyncio.gather(*calls)
    wrong = [answer for status, answer in answers if status != 200 and answer.get("code") not in WEATHER]
    return Visit("reload", Seen.UNCOUNTED, complaint=f"was answered {wrong}" if wrong else "")


async def cleans_up(place: Place) -> Visit:
    status, answer = await call(place.port, "POST", f"{API}/admin/cleanup")
    return Visit("clean-up", Seen.UNCOUNTED, complaint="" if status == 200 else f"was answered {answer}")


async def changes_the_configuration(place: Place) -> Visit:
    """Changes the configuration for a moment, and restores it."""
    change = place.dice.choice(CHANGES)
    async with place.changing:
        _, before = await call(place.port, "GET", f"{API}/config")
        there, _ = await call(place.port, "POST", f"{API}/config", change)
        await asyncio.sleep(place.dice.uniform(0.1, 1.0))
        back, _ = await call(place.port, "POST", f"{API}/config", {name: before[name] for name in change})
    complaint = "" if there == back == 200 else f"{change} was answered {there}, taking it back {back}"
    return Visit("configuration", Seen.UNCOUNTED, complaint=complaint)


WEIGHTS: Mapping[Visitor, float] = {
    asks_plainly: 20,
    asks_for_json_lines: 16,
    asks_for_events: 10,
    reads_slowly: 4,
    asks_a_broken_model: 6,
    asks_for_nobody: 2,
    leaves_in_mid_stream: 10,
    leaves_before_the_answer: 6,
    stops_in_mid_request: 3,
    sends_nonsense: 8,
    announces_too_much: 1,
    speaks_no_http: 3,
    is_no_admin: 3,
    looks_around: 5,
    reloads: 3,
    cleans_up: 1,
    changes_the_configuration: 1.5,
}
"""The frequency of each visit, relative to the others."""


# -- how a request is made and its answer read -----------------------------------------------------------------------


def _request(place: Place, model_id: str) -> tuple[str, Json]:
    dice = place.dice
    body: Json = {"model_id": model_id, "max_length": dice.randint(1, 32), "seed": dice.randrange(2**31)}
    if dice.random() < 0.6:
        return "/generate", {**body, "text": dice.choice((*TEXTS, dice.choice(LONG_TEXTS)))}
    return "/infill", {
        **body,
        "prefix": dice.choice((*TEXTS, dice.choice(LONG_TEXTS))),
        "suffix": dice.choice(("", "return x")),
    }


async def _plain(
    kind: str, place: Place, path: str, body: Json, *, allowed: Set[str] = frozenset(), may_succeed: bool = True
) -> Visit:
    started_s = time.monotonic()
    async with Connection(place.port) as connection:
        await connection.ask("POST", API + path, json.dumps(body).encode())
        head = await connection.head()
        if head.status != 200:
            return await _refusal(kind, connection, head, started_s, allowed)
        answer = json.loads(await connection.body(head))
    request_id, duration_s = head.headers["x-request-id"], time.monotonic() - started_s
    complaint = "" if may_succeed else f"was answered {answer}"
    return Visit(kind, Seen.SUCCESSFUL, "", request_id, duration_s, answer["tokens_generated"], complaint)


async def _stream(
    kind: str,
    place: Place,
    path: str,
    body: Json,
    *,
    allowed: Set[str] = frozenset(),
    pause_s: float = 0.0,
    receive_buffer_bytes: int | None = None,
    **headers: str,
) -> Visit:
    started_s = time.monotonic()
    async with Connection(place.port, receive_buffer_bytes=receive_buffer_bytes) as connection:
        await connection.ask("POST", f"{API}{path}/stream", json.dumps(body).encode(), **headers)
        head = await connection.head()
        if head.status != 200:
            return await _refusal(kind, connection, head, started_s, allowed)
        chunks = []
        async for chunk in connection.chunks(head):
            chunks.append(chunk)
            await asyncio.sleep(pause_s)
    return _streamed(kind, head, _events(b"".join(chunks)), time.monotonic() - started_s, allowed)


def _events(body: bytes) -> list[Json]:
    lines = (line.removeprefix(b"data: ") for line in body.split(b"\n"))
    return [json.loads(line) for line in lines if line.startswith(b"{")]


def _streamed(kind: str, head: Head, events: list[Json], duration_s: float, allowed: Set[str]) -> Visit:
    request_id, last = head.headers["x-request-id"], events[-1]
    if [event["type"] for event in events].count("start") != 1 or events[0]["type"] != "start":
        return Visit(kind, Seen.LEFT, request_id=request_id, complaint=f"a stream begins with {events[0]}")
    if last["type"] == "complete":
        num_tokens = last["metadata"]["tokens_generated"]
        return Visit(kind, Seen.SUCCESSFUL, "", request_id, duration_s, num_tokens)
    if last["type"] != "error":
        return Visit(kind, Seen.LEFT, request_id=request_id, complaint=f"a stream ends with {last}")
    return _failed(kind, last["metadata"]["code"], request_id, duration_s, allowed)


async def _refusal(
    kind: str, connection: Connection, head: Head, started_s: float, allowed: Set[str] = frozenset()
) -> Visit:
    problem = json.loads(await connection.body(head))
    return _failed(kind, problem["code"], head.headers["x-request-id"], time.monotonic() - started_s, allowed)


def _failed(kind: str, code: str, request_id: str, duration_s: float, allowed: Set[str]) -> Visit:
    complaint = "" if code in allowed | WEATHER else f"failed with {code!r}"
    return Visit(kind, OUTCOME_OF_CODE.get(code, Seen.UNCOUNTED), code, request_id, duration_s, complaint=complaint)


def _adds_up(statistics: Mapping[str, Any]) -> bool:
    parts = ("successful_requests", "failed_requests", "cancelled_requests", "requests_in_flight")
    return bool(statistics["total_requests"] == sum(statistics[part] for part in parts))
