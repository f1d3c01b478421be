"""Rate limits per client, counted by one server alone, or by several in a real Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.api.redis_server import PASSWORD, RedisServer, running_redis
from tests.api.serving import WITHOUT_WEIGHTS, Json, Server, serving
from tests.api.test_errors import body_for, check_problem

PATHS = ["/generate", "/generate/stream", "/infill", "/infill/stream"]
KEYS = ["first-key", "second-key", "third-key"]


def ask(server: Server, path: str = "/generate", **headers: str) -> requests.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.post(path, body_for(path, model_id="words", max_length=1), headers=given)


def told(response: requests.Response) -> list[int]:
    """The limit, the remaining calls and the seconds to the end of the window, if the answer has them."""
    names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    return [int(response.headers[name]) for name in names if name in response.headers]


def wait_for(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {within_s} s"
        time.sleep(0.2)


@pytest.mark.parametrize(("path", "limit"), [(path, f"2/{hours}hours") for hours, path in enumerate(PATHS, start=2)])
def test_the_third_of_two_allowed_calls_is_refused(server: Server, path: str, limit: str) -> None:
    assert told(ask(server, path)) == []
    with server.configured(rate_limit=limit):
        answers = [ask(server, path) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [told(answer)[:2] for answer in answers] == [[2, 1], [2, 0], [2, 0]]
    problem = check_problem(answers[-1], 429, "rate_limited")
    assert "2 per" in problem["detail"]
    assert 0 < int(answers[-1].headers["retry-after"]) <= told(answers[-1])[2] + 1


def test_waiting_for_retry_after_helps(server: Server) -> None:
    with server.configured(rate_limit="1/2seconds"):
        ask(server)
        refusal = ask(server)
        assert refusal.status_code == 429
        time.sleep(int(refusal.headers["retry-after"]))
        assert ask(server).status_code == 200


def test_all_paths_count_together_and_wrong_requests_too(server: Server) -> None:
    with server.configured(rate_limit="5/10hours"):
        remaining = [told(ask(server, path))[1] for path in PATHS]
        wrong = server.post("/generate", {"no_such": 1})
        assert [*remaining, told(wrong)[1]] == [4, 3, 2, 1, 0]
        assert wrong.status_code == 422
        assert ask(server).status_code == 429


def test_operators_are_not_counted(server: Server) -> None:
    with server.configured(rate_limit="1/11hours"):
        ask(server)
        assert ask(server).status_code == 429
        for _ in range(3):
            assert server.get("/admin/stats").status_code == 200
            assert server.get("/models").status_code == 200
            assert server.session.get(f"{server.url}/health/live", timeout=60).status_code == 200
        assert server.answer("/config", {"top_k": 50})["updated"] == {"top_k": 50}


def test_a_refused_call_is_no_request_of_the_service(server: Server) -> None:
    before = server.wait_until_idle()
    with server.configured(rate_limit="1/12hours"):
        ask(server)
        assert ask(server).status_code == 429
    assert server.wait_until_idle()["total_requests"] == before["total_requests"] + 1


def test_no_header_gets_around_it(server: Server) -> None:
    with server.configured(rate_limit="1/13hours"):
        assert ask(server).status_code == 200
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-API-Key", "Authorization", "X-Request-ID"):
            assert ask(server, **{name: "Bearer 192.0.2.1"}).status_code == 429


@pytest.mark.parametrize("limit", ["60", "60/parrot", "0/minute", "x" * 10_000])
def test_a_wrong_limit_changes_nothing(server: Server, limit: str) -> None:
    problem = check_problem(server.post("/config", {"rate_limit": limit}), 422, "invalid_parameters")
    assert problem["errors"][0]["field"] == "rate_limit"
    assert "60/minute" in problem["detail"]
    assert server.get("/config").json()["rate_limit"] == ""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as running:
        yield running


@pytest.fixture
def pair(tmp_path: Path, plugin: Path, redis: RedisServer) -> Iterator[tuple[Server, Server]]:
    """Two servers that count in the same Redis."""
    settings = {"RATE_LIMIT_STORAGE": redis.url, "RATE_LIMIT": "4/hour", "API_KEYS": ",".join(KEYS), **WITHOUT_WEIGHTS}
    with serving(tmp_path / "a", plugin, **settings) as one, serving(tmp_path / "b", plugin, **settings) as other:
        for running in (one, other):
            running.wait_until_ready()
        yield one, other


def test_servers_that_share_a_redis_share_their_counts_and_outlive_it(
    pair: tuple[Server, Server], redis: RedisServer
) -> None:
    one, other = pair
    answers = [ask(running, X_API_Key=KEYS[0]) for running in (one, other, one, other, one, other)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert [told(answer)[1] for answer in answers] == [3, 2, 1, 0, 0, 0]
    assert 3_500 < told(answers[0])[2] <= 3_600
    assert 0 < int(answers[-1].headers["retry-after"]) <= 3_601
    assert ask(one, X_API_Key=KEYS[1]).status_code == 200
    assert redis_health(one) == {"healthy": True, "detail": "counts calls for all servers"}
    check_stored_names(redis)

    redis.stop()
    statuses = [ask(one, X_API_Key=KEYS[0]).status_code for _ in range(5)]
    assert statuses == [200] * 4 + [429], "without Redis each server counts alone"
    assert "counted on this server alone" in redis_health(one)["detail"]
    assert one.get("/admin/health").json()["status"] == "degraded"
    assert one.log.count("ERROR app.api.access.counters") == 1

    redis.start()
    wait_for(lambda: ask(one, X_API_Key=KEYS[2]).status_code == 200 and redis_health(one)["healthy"])
    one.wait_for_log("Redis answers again")
    for running in pair:
        assert PASSWORD not in running.log
        assert "Traceback" not in running.log.partition("is ready on")[2]


def redis_health(server: Server) -> Json:
    component: Json = server.get("/admin/health").json()["components"]["redis"]
    return component


def check_stored_names(redis: RedisServer) -> None:
    """They are short-lived, say whose they are, and tell nothing of a key."""
    names = redis.names()
    assert names
    assert all("reynard" in name for name in names)
    assert not any(key in name for name in names for key in KEYS)


def test_a_missing_redis_does_not_stop_the_start(tmp_path: Path, plugin: Path) -> None:
    settings = {"RATE_LIMIT_STORAGE": "redis://127.0.0.1:1/0", "RATE_LIMIT": "2/hour", **WITHOUT_WEIGHTS}
    with serving(tmp_path / "alone", plugin, **settings) as alone:
        alone.wait_until_ready()
        assert [ask(alone).status_code for _ in range(3)] == [200, 200, 429]
        assert alone.get("/admin/health").json()["components"]["redis"]["healthy"] is False
