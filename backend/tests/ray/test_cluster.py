"""A Ray in real processes, of one machine: two ingresses, two replicas of one model, and two of one that has no
checkpoint: they never import torch."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from itertools import pairwise
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.api.serving import BACKEND, Json, Server, serving
from tests.api.test_constraints import PATTERN, check, text_of
from tests.api.test_disconnect import connect_and_ask

pytestmark = [pytest.mark.ray, pytest.mark.thorough]

PATIENCE_S = 300.0
NUM_PLACES, NUM_WAITING = 3, 4
LONG: Json = {"text": "Once", "model_id": "llada", "max_length": 256, "block_length": 256}
LLADA = "ServeReplica:reynard:model-llada"
SHORT: Json = {"text": "Once", "model_id": "llada", "max_length": 4, "seed": 1}
AS_CONFIGURED: Json = {"text": "Once", "model_id": "llada", "seed": 1}
"""The request whose text is as long as `max_length` allows; with another seed it might end before."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, program = tmp_path_factory.mktemp("cluster"), (str(BACKEND / "serve_ray.py"),)
    with (
        without_settings_of_ray(),
        serving(
            folder,
            program=program,
            DREAMON_PATH=str(folder / "not-there"),
            DEFAULT_MODEL="llada",
            RAY_MIN_REPLICAS="2",
            RAY_INGRESS_REPLICAS="2",
            RAY_NUM_CPUS="0.1",
            MAX_CONCURRENT_REQUESTS=str(NUM_PLACES),
            MAX_QUEUED_REQUESTS=str(NUM_WAITING),
        ) as running,
    ):
        wait_until(lambda: num_replicas(running) == 2, running)
        yield running


@contextmanager
def without_settings_of_ray() -> Iterator[None]:
    """Hides the user's settings for a cluster, and a temporary folder whose path is too long for Ray's sockets."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        patch.setenv("RAY_TMPDIR", folder)
        yield


def wait_until(condition: Callable[[], bool], cluster: Server) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, cluster.log[-5_000:]
        time.sleep(0.1)


def num_replicas(cluster: Server) -> int:
    """The number of healthy replicas; 0 while it is unknown. Ray's proxy drops connections while ingresses come."""
    try:
        response = cluster.get("/admin/health")
    except requests.ConnectionError:
        return 0
    if response.status_code != 200:
        return 0
    return sum(component["healthy"] for component in response.json()["components"].values())


def processes(cluster: Server, title: str) -> list[psutil.Process]:
    """The processes of an actor, or of the replicas of a deployment, which Ray names in their command lines."""
    found = []
    for child in psutil.Process(cluster.process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if " ".join(child.cmdline()).startswith(f"ray::{title}"):
                found.append(child)
    return found


def metric(cluster: Server, name: str) -> dict[str, float]:
    """Values of a metric by replica."""
    text = cluster.session.get(f"{cluster.url}/metrics", timeout=PATIENCE_S).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.labels["replica"]: sample.value for sample in samples if sample.name == name}


def num_running(cluster: Server) -> float:
    """Requests that hold a place at an ingress, and once more those that hold one at a replica."""
    return sum(metric(cluster, "reynard_requests_running").values())


@dataclass
class Visit:
    """The answer to one client; it has no events if the client asked for no stream, or got none."""

    status: int
    events: list[Json]
    body: str
    headers: Any


def visit(cluster: Server, path: str, body: Json) -> Visit:
    """A client with a connection of its own; one that is cut off gets the events until then."""
    events: list[Json] = []
    with requests.post(f"{cluster.url}/api/diffusion{path}", json=body, stream=True, timeout=PATIENCE_S) as response:
        if not path.endswith("/stream") or response.status_code != 200:
            return Visit(response.status_code, [], response.text, response.headers)
        with suppress(requests.RequestException):
            events.extend(json.loads(line) for line in response.iter_lines() if line)
        return Visit(response.status_code, events, "", response.headers)


def lengths(cluster: Server, num_visits: int = 8) -> set[int]:
    """The lengths of answers by both ingresses to requests that give none."""
    visits = [visit(cluster, "/generate", AS_CONFIGURED) for _ in range(num_visits)]
    return {json.loads(one.body)["tokens_generated"] for one in visits}


def law_holds(counted: Json) -> bool:
    ended = sum(counted[f"{outcome}_requests"] for outcome in ("successful", "failed", "cancelled"))
    return bool(counted["total_requests"] == ended + counted["requests_in_flight"])


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_a_stream_is_to_the_byte_the_answer(cluster: Server, accept: str) -> None:
    body = {**LONG, "max_length": 24, "block_length": 8, "seed": 3}
    events = cluster.events("/generate/stream", body, accept)
    assert [events[0]["type"], events[-1]["type"]] == ["start", "complete"]
    text = "".join(event["data"] for event in events if event["type"] == "token")
    assert text == cluster.answer("/generate", body)["generated_text"]


def test_an_answer_of_a_replica_obeys_its_constraint(cluster: Server) -> None:
    body: Json = {"text": "Once", "model_id": "llada", "max_length": 48, "seed": 3, "constraint": {"regex": PATTERN}}
    answer = cluster.answer("/generate", body)["generated_text"]
    check(answer, body["constraint"])
    assert text_of(cluster.events("/generate/stream", {**body, "stream_mode": "canvas"})) == answer
    for wrong, field in (({"max_length": 2}, "max_length"), ({"constraint": {"regex": "(?=a)a"}}, "constraint.regex")):
        refused = visit(cluster, "/generate/stream", {**body, **wrong})
        assert (refused.status, json.loads(refused.body)["errors"][0]["field"]) == (422, field)


def test_a_stream_is_not_held_back(cluster: Server) -> None:
    with cluster.post("/generate/stream", {**LONG, "stream_mode": "canvas"}, stream=True) as response:
        times_s = [time.monotonic() for line in response.iter_lines(chunk_size=1) if line]
    gaps_s = [after - before for before, after in pairwise(times_s)]
    assert len(times_s) > 50
    assert max(gaps_s) < 0.5 * (times_s[-1] - times_s[0])


def test_a_client_that_leaves_frees_its_slot_on_the_replica(cluster: Server) -> None:
    before = cluster.wait_until_idle(PATIENCE_S)
    connection = connect_and_ask(cluster, "/generate/stream", {**LONG, "max_length": 1024, "block_length": 1024})
    assert b"200 OK" in connection.recv(65_536)
    cluster.wait_for(lambda statistics: statistics["requests_in_flight"] == 1, PATIENCE_S)
    wait_until(lambda: num_running(cluster) == 2, cluster)
    connection.close()
    after = cluster.wait_until_idle(PATIENCE_S)
    assert after["cancelled_requests"] == before["cancelled_requests"] + 1
    wait_until(lambda: num_running(cluster) == 0, cluster)


def test_both_ingresses_answer_and_count_together(cluster: Server) -> None:
    before = cluster.wait_until_idle(PATIENCE_S)
    with ThreadPoolExecutor(4) as pool:
        visits = list(pool.map(lambda _: visit(cluster, "/generate", SHORT), range(16)))
    assert {visit.status for visit in visits} == {200}
    after = cluster.statistics()
    assert after["successful_requests"] == before["successful_requests"] + 16
    assert len(metric(cluster, "reynard_http_responses_total")) == 2
    assert sum(metric(cluster, "reynard_engine_forward_passes_total").values()) > 0


def test_a_change_is_active_everywhere_when_it_is_answered(cluster: Server) -> None:
    with cluster.configured(max_length=5):
        assert lengths(cluster) == {5}


def test_a_change_that_shapes_the_deployments_is_refused(cluster: Server) -> None:
    response = cluster.post("/config", {"max_queued_requests": 5})
    assert response.status_code == 422
    assert "deploy again" in response.json()["detail"]


def test_a_wrong_value_found_by_a_replica_gives_the_usual_error(cluster: Server) -> None:
    response = cluster.post("/generate", {**SHORT, "initial_masks": 4})
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["field"] == "initial_masks"


def test_a_fallback_model_answers_for_one_that_no_replica_could_load(cluster: Server) -> None:
    answer = cluster.answer("/generate", {**SHORT, "model_id": "dreamon"})
    assert (answer["model_id"], answer["metadata"]["requested_model"]) == ("llada", "dreamon")


def test_a_reload_and_a_cleanup_reach_all(cluster: Server) -> None:
    with cluster.configured(dtype="bfloat16"):
        before = metric(cluster, "reynard_model_weights_bytes")
        assert cluster.answer("/admin/models/llada/reload", {})["model"]["dtype"] == "bfloat16"
        after = metric(cluster, "reynard_model_weights_bytes")
    assert sum(after[replica] < before[replica] for replica in before) == 2
    assert cluster.answer("/admin/models/llada/reload", {})["model"]["dtype"] == "float32"
    assert cluster.answer("/admin/cleanup", {})["success"]


def test_a_killed_replica_loses_only_its_running_requests(cluster: Server) -> None:
    before = cluster.wait_until_idle(PATIENCE_S)
    paths = ["/generate/stream"] * 5 + ["/generate"]  # as many as the two replicas have places
    with cluster.configured(max_length=6), ThreadPoolExecutor(len(paths)) as pool:
        visits = [pool.submit(visit, cluster, path, {**LONG, "seed": seed}) for seed, path in enumerate(paths)]
        wait_until(lambda: num_running(cluster) == 2 * len(paths), cluster)
        victim = processes(cluster, LLADA)[0]
        victim.kill()
        ended = [visit.result() for visit in visits]
        after = cluster.wait_until_idle(PATIENCE_S)
        wait_until(lambda: len(processes(cluster, LLADA)) == 2 and num_replicas(cluster) == 2, cluster)
        assert lengths(cluster) == {6}
    failed = [one for one in ended if one.status != 200 or (one.events and one.events[-1]["type"] == "error")]
    assert len(failed) == len(paths) / 2
    for one in ended:
        ends = [event["type"] for event in one.events if event["type"] in ("complete", "error")]
        assert len(ends) == (1 if one.events else 0)
        assert not ends or one.events[-1]["type"] == ends[0]
    for one in failed:
        code = one.events[-1]["metadata"]["code"] if one.events else json.loads(one.body)["code"]
        assert code == "model_unavailable"
        assert one.status == 200 or (one.status == 503 and int(one.headers["Retry-After"]) > 0)
    assert law_holds(after)
    assert after["failed_requests"] == before["failed_requests"] + len(failed)
    assert after["successful_requests"] == before["successful_requests"] + len(paths) - len(failed)


def test_after_an_ingress_is_killed_the_sum_is_right_and_its_successor_has_the_settings(cluster: Server) -> None:
    cluster.wait_until_idle(PATIENCE_S)
    with cluster.configured(max_length=7):
        before = cluster.statistics()
        asking = threading.Thread(target=visit, args=(cluster, "/generate/stream", LONG))
        asking.start()
        cluster.wait_for(lambda statistics: statistics["requests_in_flight"] == 1, PATIENCE_S)
        for victim in processes(cluster, "ServeReplica:reynard:ingress"):
            victim.kill()
        asking.join()
        wait_until(lambda: num_replicas(cluster) == 2, cluster)
        cluster.session.close()
        assert lengths(cluster, 1) == {7}
        after = cluster.wait_until_idle(PATIENCE_S)
        assert law_holds(after)
        assert after["total_requests"] == before["total_requests"] + 2
        assert after["failed_requests"] == before["failed_requests"] + 1


def test_a_killed_board_comes_back_with_what_the_replicas_know(cluster: Server) -> None:
    with cluster.configured(max_length=8):
        kill_the_board(cluster)
        assert lengths(cluster) == {8}, "no request passes through it"
        with cluster.configured(max_length=9):
            assert lengths(cluster) == {9}, "in force everywhere once it is answered, by a board that has just started"
            kill_the_board(cluster)
        assert lengths(cluster) == {8}
    assert law_holds(cluster.statistics())
    assert num_replicas(cluster) == 2
    assert visit(cluster, "/generate", SHORT).status == 200


def kill_the_board(cluster: Server) -> None:
    (victim,) = processes(cluster, "Board")
    victim.kill()
    victim.wait(PATIENCE_S)


def test_an_overload_is_reported_and_does_not_affect_other_requests(cluster: Server) -> None:
    before = cluster.wait_until_idle(PATIENCE_S)
    log_bytes = len(cluster.log)
    num_places = 2 * (2 * NUM_PLACES + NUM_WAITING)  # each of the two ingresses reckons with all replicas
    body = {**LONG, "max_length": 1024, "block_length": 1024}
    connections = [connect_and_ask(cluster, "/generate/stream", body) for _ in range(2 * num_places)]
    refused = refusals(connections, at_least=num_places)
    for connection in connections:
        connection.close()
    for status, retry_after, answer in refused:
        assert (status, answer["code"]) == (503, "queue_full"), answer
        assert int(retry_after) > 0
    after = cluster.wait_until_idle(PATIENCE_S)
    assert law_holds(after)
    assert after["total_requests"] == before["total_requests"] + len(connections)
    assert after["failed_requests"] == before["failed_requests"] + len(refused)
    assert "Traceback" not in cluster.log[log_bytes:]
    assert visit(cluster, "/generate", SHORT).status == 200


def refusals(connections: list[socket.socket], at_least: int) -> list[tuple[int, str, Json]]:
    """Status, `Retry-After` and body of those that got no stream."""
    silent = list(connections)
    refused: list[tuple[int, str, Json]] = []
    while len(refused) < at_least:
        readable, _, _ = select.select(silent, [], [], PATIENCE_S)
        assert readable, f"only {len(refused)} of {len(connections)} were refused"
        for connection in readable:
            silent.remove(connection)
            response = HTTPResponse(connection)
            response.begin()
            if response.status != 200:
                refused.append((response.status, response.headers["Retry-After"], json.loads(response.read())))
    return refused
