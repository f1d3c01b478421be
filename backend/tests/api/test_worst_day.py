"""Everything goes wrong at once: the process is killed, clients stay half open or come by the thousand, two operators
reload the same model, the clock jumps. (Full disks are in `test_logs`, slow clients in `test_slow_clients`, devices
without memory in `test_faults`.)
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from app.core.open_files import allow_open_files
from tests.api.forked import ForkedServer
from tests.api.serving import BACKEND, WITHOUT_WEIGHTS, Json, Server, environment, serving
from tests.api.test_disconnect import connect_and_ask
from tests.soak.client import Connection

NUM_HALF_OPEN = 500
NUM_AT_ONCE = 1_000
NUM_OTHER_FILES = 300
"""Open files besides connections, of a test process and of its server, each of which has a limit."""

WORDS: Json = {"text": "x", "model_id": "words", "max_length": 3, "seed": 1}
ENDLESS: Json = {"text": "x", "model_id": "endless"}
LLADA: Json = {"text": "Once upon a time", "model_id": "llada", "max_length": 32, "seed": 1}


@pytest.fixture
def doomed(tmp_path: Path, plugin: Path) -> Iterator[Server]:
    """A server for this test alone, which may destroy it."""
    with serving(tmp_path / "doomed", plugin, **WITHOUT_WEIGHTS) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def sturdy(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Server]:
    """A server for what it survives; each test leaves it idle."""
    with serving(tmp_path_factory.mktemp("sturdy"), plugin, **WITHOUT_WEIGHTS) as running:
        running.wait_until_ready()
        yield running


@contextmanager
def restarted(dead: Server, plugin: Path) -> Iterator[Server]:
    """Restarts the server at its port at once."""
    variables = {**environment(PORT=str(dead.port), **WITHOUT_WEIGHTS), "PYTHONPATH": str(plugin)}
    log_file = dead.log_file.with_name("again.log")
    process = ForkedServer(log_file.parent, variables, log_file)
    try:
        yield Server(dead.port, process, log_file)
    finally:
        process.terminate()
        process.wait(timeout=120)


def wait_until_listening(server: Server) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            return
        time.sleep(0.02)


def test_killed_and_started_again_at_once(doomed: Server, plugin: Path) -> None:
    streams = [connect_and_ask(doomed, "/generate/stream", ENDLESS) for _ in range(3)]
    for stream in streams:
        assert b"200 OK" in stream.recv(65_536)
    doomed.process.kill()
    doomed.process.wait(timeout=120)
    with restarted(doomed, plugin) as again:
        wait_until_listening(again)
        assert again.answer("/generate", WORDS)["success"]
        assert again.wait_until_idle()["total_requests"] == 1, "what was before is gone, and nothing of it is counted"
        for stream in streams:
            assert not _ends_orderly(stream), "a cut stream must not look complete"


def _ends_orderly(stream: socket.socket) -> bool:
    """Whether the chunked body of the answer was brought to its end."""
    received = b""
    with stream, suppress(ConnectionError):
        while chunk := stream.recv(65_536):
            received += chunk
    return received.endswith(b"0\r\n\r\n")


def test_a_stop_during_a_stream_is_reported_and_the_exit_is_clean(doomed: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(doomed.events, "/generate/stream", ENDLESS)
        doomed.wait_for(lambda statistics: statistics["requests_in_flight"] == 1)
        doomed.process.send_signal(signal.SIGTERM)
        last = stream.result(timeout=120)[-1]
    assert (last["type"], last["metadata"]["code"]) == ("error", "cancelled")
    assert doomed.process.wait(timeout=120) == 0
    assert "never retrieved" not in doomed.log


@pytest.mark.parametrize(
    "begun", [b"", b"POST /api/diffusion/gen", b"POST /api/diffusion/generate HTTP/1.1\r\nHost: a\r\n"]
)
def test_half_open_connections_do_not_block_others(sturdy: Server, begun: bytes) -> None:
    before = sturdy.wait_until_idle()["total_requests"]
    with ExitStack() as connections:
        for _ in range(NUM_HALF_OPEN):
            connection = socket.create_connection(("127.0.0.1", sturdy.port), timeout=60)
            connections.enter_context(connection).sendall(begun)
        assert sturdy.answer("/generate", WORDS)["success"]
    assert sturdy.wait_until_idle()["total_requests"] == before + 1
    assert "unexpected error" not in sturdy.log


def test_a_thousand_clients_at_once_get_an_answer_each_and_are_counted_once(sturdy: Server) -> None:
    async def ask() -> tuple[int, str]:
        async with Connection(sturdy.port) as connection:
            await connection.ask("POST", "/api/diffusion/generate", json.dumps(WORDS).encode())
            head = await connection.head()
            answer = json.loads(await connection.body(head))
        return head.status, str(answer.get("code", ""))

    num_files = allow_open_files(NUM_AT_ONCE + NUM_OTHER_FILES)  # the usual limit is 1,024 files
    num_clients = min(NUM_AT_ONCE, num_files - NUM_OTHER_FILES)

    async def ask_all() -> Counter[tuple[int, str]]:
        return Counter(await asyncio.gather(*(ask() for _ in range(num_clients))))

    before = sturdy.wait_until_idle()
    answers = asyncio.run(ask_all())
    after = sturdy.wait_until_idle()
    statistics = {name: after[name] - before[name] for name in after if name.endswith("_requests")}
    assert answers.keys() <= {(200, ""), (503, "queue_full")}
    assert statistics["successful_requests"] == answers[200, ""] > 0
    assert statistics["failed_requests"] == answers[503, "queue_full"]
    assert statistics["total_requests"] == num_clients


def test_two_reloads_of_one_model_at_once_in_traffic(sturdy: Server) -> None:
    before = sturdy.wait_until_idle()
    alone = sturdy.answer("/generate", LLADA)["generated_text"]
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(sturdy.answer, "/generate", LLADA) for _ in range(6)]
        reloads = [pool.submit(sturdy.post, "/admin/models/llada/reload") for _ in range(2)]
    assert [reload.result().status_code for reload in reloads] == [200, 200]
    assert {answer.result()["generated_text"] for answer in answers} == {alone}
    after = sturdy.wait_until_idle()
    assert after["successful_requests"] == before["successful_requests"] + 7
    assert after["failed_requests"] == before["failed_requests"]
    assert sturdy.answer("/generate", LLADA)["generated_text"] == alone


def test_reloads_of_a_broken_model_at_once_all_say_so(sturdy: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        reloads = [pool.submit(sturdy.post, "/admin/models/never-ready/reload") for _ in range(4)]
    assert {reload.result().json()["code"] for reload in reloads} == {"model_unavailable"}


def test_a_clock_that_jumps_changes_no_time_that_is_measured(tmp_path: Path, plugin: Path) -> None:
    """Deadlines, limits and durations use the monotonic clock; only dates use the wall clock."""
    path = Path(f"{plugin}:{BACKEND}")
    settings = {"TIMEOUT_SECONDS": "30", "RATE_LIMIT": "1000/hour", "CLIENT_TIMEOUT_SECONDS": "10"}
    with serving(tmp_path / "jumping", path, program=("-m", "tests.clock_jumps"), **settings) as jumping:
        jumping.wait_until_ready()
        events = jumping.events("/generate/stream", {**LLADA, "max_length": 64})
        answers = [jumping.answer("/generate", WORDS) for _ in range(10)]
        with jumping.post("/generate/stream", ENDLESS, stream=True) as response:
            assert response.status_code == 200
            next(response.iter_lines())
        statistics = jumping.wait_until_idle()
    times = [event["timestamp"] for event in events]
    assert max(times) - min(times) > 3600, "the clock did not jump"
    assert events[-1]["type"] == "complete"
    for measured in (events[-1]["metadata"], *(answer["metadata"] for answer in answers)):
        assert 0 <= measured["queue_time"] <= measured["processing_time"] < 30
    assert (statistics["successful_requests"], statistics["failed_requests"]) == (11, 0)
    assert 0 < statistics["average_processing_time"] < 30
    assert "unexpected error" not in jumping.log
