"""A server whose devices run out of memory and whose engines die: what its clients and its operator see of that."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.api.serving import Json, Server, serving
from tests.faults import DEVICE_NAME

BODY = {"text": "import os", "model_id": "dreamon", "max_length": 12, "temperature": 0.8, "seed": 5}


@contextmanager
def faulty(folder: Path, monkeypatch: pytest.MonkeyPatch, faults: str) -> Iterator[Server]:
    monkeypatch.setenv("FAULTS", faults)
    with serving(folder, command=("tests.faults",)) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="module")
def undisturbed(server: Server) -> list[str]:
    """The texts of eight seeds on a device without faults."""
    return [server.answer("/generate", {**BODY, "seed": seed})["generated_text"] for seed in range(8)]


def test_out_of_memory_costs_no_request_and_changes_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[str]
) -> None:
    with faulty(tmp_path, monkeypatch, "every=3,above=2") as server, ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda seed: server.answer("/generate", {**BODY, "seed": seed}), range(8)))
        statistics = server.wait_until_idle()
    assert [answer["generated_text"] for answer in answers] == undisturbed
    assert (statistics["successful_requests"], statistics["failed_requests"]) == (8, 0)


def test_a_request_that_has_to_leave_the_device_says_where_it_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[str]
) -> None:
    with faulty(tmp_path, monkeypatch, "from=3,to=4") as server:
        events = server.events("/generate/stream", {**BODY, "seed": 1})
        after = server.answer("/generate", {**BODY, "seed": 2})
    start, complete = events[0], events[-1]
    assert (start["type"], start["metadata"]["device"]) == ("start", DEVICE_NAME)
    assert (complete["type"], complete["metadata"]["device"]) == ("complete", "cpu")
    assert complete["metadata"]["moved_from"] == DEVICE_NAME
    assert "".join(event["data"] for event in events if event["type"] == "token") == undisturbed[1]
    assert (after["generated_text"], after["metadata"]["device"]) == (undisturbed[2], DEVICE_NAME)
    assert "moved_from" not in after["metadata"]


def test_a_model_leaves_a_device_that_stays_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[str]
) -> None:
    with faulty(tmp_path, monkeypatch, "from=1,to=100000") as server:
        texts = [server.answer("/generate", {**BODY, "seed": seed})["generated_text"] for seed in range(4)]
        models = {model["model_id"]: model for model in server.get("/admin/models").json()["models"]}
    assert texts == undisturbed[:4]
    assert models["dreamon"]["device"] == "cpu"
    assert models["llada"]["device"] == DEVICE_NAME


def test_an_engine_that_dies_fails_its_requests_at_once_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[str]
) -> None:
    with faulty(tmp_path, monkeypatch, "die=20") as server:
        events = server.events("/generate/stream", {**BODY, "max_length": 512, "seed": 1})
        assert (events[-1]["type"], events[-1]["metadata"]["code"]) == ("error", "generation_failed")
        assert "rack" not in events[-1]["data"]
        stand_in = server.answer("/generate", {**BODY, "max_length": 4})
        assert stand_in["model_id"] in ("llada", "dreamon")
        health = _health_until(server, healthy=True)
        again = server.answer("/generate", {**BODY, "max_length": 4, "seed": 1})
        statistics = server.wait_until_idle()
    assert health["models"]["dreamon"]["healthy"]
    assert again["model_id"] == "dreamon"
    assert (statistics["failed_requests"], statistics["successful_requests"]) == (1, 2)
    assert (
        "has broken down and is loaded again: its engine has stopped: SystemExit: pulled out of the rack" in server.log
    )


def _health_until(server: Server, *, healthy: bool) -> Json:
    server.wait_for(lambda _: server.get("/admin/health").json()["healthy"] is healthy, within_s=20.0)
    health: Json = server.get("/admin/health").json()
    return health
