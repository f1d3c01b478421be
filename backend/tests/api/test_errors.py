"""Every error over HTTP: its status, its code, its shape."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from app.api.errors.problem import Problem
from tests.api.serving import Json, Server

GENERATIONS = ["/generate", "/generate/stream"]
ALL_GENERATIONS = [*GENERATIONS, "/infill", "/infill/stream"]


def body_for(path: str, **more: Any) -> Json:
    return {**({"prefix": "a", "suffix": "b"} if "infill" in path else {"text": "a"}), **more}


def check_problem(response: requests.Response, status: int, code: str) -> Json:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: Json = response.json()
    Problem.model_validate(problem)
    assert (problem["status"], problem["code"], problem["success"]) == (status, code, False)
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["instance"] in response.url
    return problem


@pytest.mark.parametrize("path", ALL_GENERATIONS)
def test_unknown_model_lists_the_known_ones(server: Server, path: str) -> None:
    problem = check_problem(server.post(path, body_for(path, model_id="no-such")), 404, "unknown_model")
    assert "no-such" in problem["detail"]
    assert re.search(r"dreamon.*llada", problem["detail"])


def test_unknown_model_to_reload(server: Server) -> None:
    problem = check_problem(server.post("/admin/models/no-such/reload"), 404, "unknown_model")
    assert "dreamon" in problem["detail"]


@pytest.mark.parametrize("model_id", ["..%2F..%2Fetc", "%2e%2e", "a%00b", "%ff", "🙂", "a" * 300, "."])
def test_odd_model_ids_reach_no_file(server: Server, model_id: str) -> None:
    response = server.post(f"/admin/models/{model_id}/reload")
    assert response.status_code in (404, 405)
    assert response.json()["code"] in ("unknown_model", "not_found", "method_not_allowed")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"max_length": 5000}, "max_length=5000 is above the maximum of 2048"),
        ({"max_length": 0}, "max_length=0 is below the minimum of 1"),
        ({"temperature": 2.5}, "temperature=2.5 is above the maximum of 2"),
        ({"temperature": -1}, "temperature=-1 is below the minimum of 0"),
        ({"top_p": 0.0}, "top_p=0.0 is below the minimum of 0.1"),
        ({"top_k": 101}, "top_k=101 is above the maximum of 100"),
        ({"repetition_penalty": 0.5}, "repetition_penalty=0.5 is below the minimum of 1"),
        ({"seed": -1}, "seed=-1 is below the minimum of 0"),
        ({"temprature": 1}, "unknown field 'temprature'"),
        ({"top_k": "5"}, "top_k='5' must be an integer"),
    ],
)
@pytest.mark.parametrize("path", ALL_GENERATIONS)
def test_out_of_bounds(server: Server, path: str, value: Json, message: str) -> None:
    problem = check_problem(server.post(path, body_for(path, **value)), 422, "invalid_parameters")
    (name,) = value
    assert problem["detail"] == message
    assert [(error["field"], error["message"]) for error in problem["errors"]] == [(name, message)]


def test_text_bounds(server: Server) -> None:
    check_problem(server.post("/generate", {"text": ""}), 422, "invalid_parameters")
    check_problem(server.post("/generate", {"text": "a" * 10_001}), 422, "invalid_parameters")
    check_problem(server.post("/generate", {}), 422, "invalid_parameters")
    check_problem(server.post("/infill", {"prefix": "a" * 5_001, "suffix": ""}), 422, "invalid_parameters")
    check_problem(server.post("/infill", {"prefix": "", "suffix": ""}), 422, "invalid_parameters")
    check_problem(server.post("/infill", {}), 422, "invalid_parameters")
    assert server.answer("/generate", {"text": "é" * 10_000, "model_id": "words", "max_length": 1})["success"]
    assert server.answer("/infill", {"prefix": "a" * 5_000, "suffix": "b" * 5_000, "model_id": "words"})["success"]


@pytest.mark.parametrize("path", ALL_GENERATIONS)
def test_a_models_own_bound(server: Server, path: str) -> None:
    response = server.post(path, body_for(path, model_id="llada", max_length=1500))
    problem = check_problem(response, 422, "invalid_parameters")
    assert (problem["errors"][0]["field"], problem["errors"][0]["value"]) == ("max_length", 1500)
    assert "1500" in problem["detail"]
    assert "1024" in problem["detail"]


def test_a_parameter_that_the_model_does_not_know(server: Server) -> None:
    response = server.post("/generate", {"text": "a", "model_id": "llada", "initial_masks": 4})
    problem = check_problem(response, 422, "invalid_parameters")
    assert (problem["errors"][0]["field"], problem["errors"][0]["value"]) == ("initial_masks", 4)


@pytest.mark.parametrize("path", ["/no-such", "/generate/", "/admin", "/admin/models/dreamon"])
def test_unknown_path(server: Server, path: str) -> None:
    check_problem(server.get(path), 404, "not_found")


def test_paths_outside_the_api_get_problem_documents_too(server: Server) -> None:
    check_problem(server.session.get(f"{server.url}/nowhere"), 404, "not_found")
    check_problem(server.session.post(server.url), 405, "method_not_allowed")


@pytest.mark.parametrize("path", ALL_GENERATIONS)
def test_wrong_method(server: Server, path: str) -> None:
    response = server.get(path)
    check_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("path", [*ALL_GENERATIONS, "/config"])
def test_wrong_content_type(server: Server, path: str) -> None:
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {}):
        response = server.session.post(f"{server.url}/api/diffusion{path}", data=b'{"text": "a"}', headers=headers)
        problem = check_problem(response, 415, "unsupported_media_type")
        assert "application/json" in problem["detail"]


@pytest.mark.parametrize("path", ALL_GENERATIONS)
def test_disabled(server: Server, path: str) -> None:
    with server.configured(enabled=False):
        response = server.post(path, body_for(path))
    check_problem(response, 503, "disabled")
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", GENERATIONS)
def test_no_model_available(server: Server, path: str) -> None:
    with server.configured(model_fallback=False):
        response = server.post(path, body_for(path, model_id="never-ready"))
    check_problem(response, 503, "model_unavailable")
    assert int(response.headers["retry-after"]) > 0


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """A request holds the only place."""
    with server.configured(max_concurrent_requests=1, max_queued_requests=0):
        with server.post("/generate/stream", {"text": "x", "model_id": "endless"}, stream=True) as response:
            lines = response.iter_lines()  # kept, for dropping it closes the connection
            next(lines)
            yield
        server.wait_until_idle()


@pytest.mark.parametrize("path", ALL_GENERATIONS)
def test_queue_full(server: Server, path: str) -> None:
    with busy(server):
        response = server.post(path, body_for(path, model_id="words"))
    check_problem(response, 503, "queue_full")
    assert int(response.headers["retry-after"]) > 0


def test_a_queued_request_gets_the_next_slot(server: Server) -> None:
    answers: list[int] = []

    def ask() -> None:
        body = {"text": "x", "model_id": "words", "max_length": 2}
        answers.append(requests.post(f"{server.url}/api/diffusion/generate", json=body, timeout=60).status_code)

    with busy(server):
        server.answer("/config", {"max_queued_requests": 5})
        waiting = [threading.Thread(target=ask) for _ in range(3)]
        for thread in waiting:
            thread.start()
        server.wait_for(lambda statistics: statistics["requests_in_flight"] == 4)
        assert answers == []
    for thread in waiting:
        thread.join()
    assert answers == [200, 200, 200]


@pytest.mark.parametrize("path", ["/generate", "/infill"])
def test_timeout_gives_the_text_so_far(server: Server, path: str) -> None:
    with server.configured(timeout_seconds=0.3):
        response = server.post(path, body_for(path, model_id="endless"))
    problem = check_problem(response, 504, "timeout")
    assert problem["partial"] is True
    text = problem["infilled_text" if path == "/infill" else "generated_text"]
    assert text.startswith("on on ")
    assert set(text.split(" ")) == {"on", ""}


@pytest.mark.parametrize("path", GENERATIONS)
def test_timeout_before_the_first_event_is_a_status(server: Server, path: str) -> None:
    with server.configured(timeout_seconds=0.2):
        problem = check_problem(server.post(path, body_for(path, model_id="silent")), 504, "timeout")
    assert problem["generated_text"] == ""


@pytest.mark.parametrize("path", GENERATIONS)
def test_a_model_that_breaks_does_not_reveal_its_internals(server: Server, path: str) -> None:
    response = server.post(path, body_for(path, model_id="breaks-at-once"))
    problem = check_problem(response, 500, "generation_failed")
    assert "cause that no client may read" not in response.text
    server.wait_for_log("cause that no client may read")
    server.wait_for_log(problem["request_id"])


def test_wrong_configuration(server: Server) -> None:
    for changes in (
        {"no_such": 1},
        {"top_k": 0},
        {"port": 1},
        {"admin_token": "x"},
        {"extra_models": "x"},
        {"default_model": "no-such"},
    ):
        problem = check_problem(server.post("/config", changes), 422, "invalid_parameters")
        assert problem["errors"][0]["field"] in changes
    assert server.answer("/config", {})["updated"] == {}
