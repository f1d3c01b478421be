"""Texts with holes, read over HTTP."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.serving import Server

HOLE = {"hole": "x", "choices": ["a", "b"]}


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_holes_are_answered_by_name(server: Server, model: str) -> None:
    body = {"model_id": model, "parts": ["Once ", HOLE, {"text": " and "}, {"hole": "y", "masks": 2}, "."], "top": 3}
    answer = server.answer("/read", body)
    assert (answer["success"], answer["calibrated"], answer["model_id"]) == (True, False, model)
    assert [choice["text"] for choice in answer["holes"]["x"]["choices"]] == ["a", "b"]
    mass = sum(math.exp(choice["logprob"]) for choice in answer["holes"]["x"]["choices"])
    assert answer["holes"]["x"]["log_mass"] == pytest.approx(math.log(mass))
    assert [len(row) for row in answer["holes"]["y"]["tokens"]] == [3, 3]
    assert answer["metadata"]["forward_passes"] == 1
    assert server.answer("/read", body)["holes"] == answer["holes"]


def test_choices_come_back_as_they_were_sent(server: Server) -> None:
    body = {"model_id": "llada", "parts": ["q ", {"hole": "x", "choices": ["a\r\n", "a\n"]}]}
    assert [choice["text"] for choice in server.answer("/read", body)["holes"]["x"]["choices"]] == ["a\r\n", "a\n"]


def test_reads_at_the_same_time_beside_a_generation_are_those_of_one_alone(server: Server) -> None:
    body = {"model_id": "llada", "parts": ["Once ", HOLE, "."]}
    alone = server.answer("/read", body)["holes"]
    with ThreadPoolExecutor(9) as pool:
        writing = pool.submit(server.answer, "/generate", {"text": "Once", "model_id": "llada", "max_length": 32})
        answers = list(pool.map(lambda _: server.answer("/read", body), range(8)))
        assert writing.result()["success"]
    assert [answer["holes"] for answer in answers] == [alone] * 8


@pytest.mark.parametrize(
    ("body", "field", "complaint"),
    [
        ({}, "parts", "parts is missing"),
        ({"parts": []}, "parts", "at least 1"),
        ({"parts": ["text"]}, "parts", "no hole"),
        ({"parts": [{"hole": "x"}, {"hole": "x"}]}, "parts", "two holes of the name 'x'"),
        ({"parts": [{"text": "a", "hole": "x"}]}, "parts[0]", "either a text or a hole"),
        ({"parts": [{"text": "a", "masks": 2}, HOLE]}, "parts[0]", "belong to a hole"),
        ({"parts": [{"hole": "x", "masks": 0}]}, "parts[0].masks", "below the minimum of 1"),
        ({"parts": [{"hole": "x", "masks": 65}]}, "parts[0].masks", "above the maximum of 64"),
        ({"parts": [{"hole": "x", "choices": []}]}, "parts[0].choices", "is empty"),
        ({"parts": [{"hole": "x", "choices": [""]}]}, "parts[0].choices", "0 characters"),
        ({"parts": [{"hole": "x", "choices": ["a", "a"]}]}, "parts[0].choices", "twice"),
        ({"parts": [{"hole": "x", "chioces": ["a"]}]}, "parts[0].chioces", "unknown field"),
        ({"parts": [HOLE], "temperature": 1.0}, "temperature", "unknown field"),
        ({"parts": [HOLE], "top": 100}, "top", "above the maximum of 64"),
        ({"parts": ["a" * 150_000, {"hole": "x"}, "b" * 150_000]}, "parts", "more than the maximum of 200000"),
        ({"parts": [5, HOLE]}, "parts[0]", "must be an object"),
    ],
)
def test_a_mistake_is_refused_by_name(server: Server, body: dict[str, Any], field: str, complaint: str) -> None:
    response = server.post("/read", body)
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert error["field"] == field
    assert complaint in error["message"]


def test_a_model_that_cannot_read_is_refused_and_others_are_named(server: Server) -> None:
    response = server.post("/read", {"model_id": "words", "parts": [HOLE]})
    assert (response.status_code, response.json()["code"]) == (422, "unsupported_operation")
    others = response.json()["detail"].partition("ask another model: ")[2].split(", ")
    assert {"dreamon", "llada"} <= set(others)
    assert "words" not in others


def test_an_unknown_model_is_not_found(server: Server) -> None:
    assert server.post("/read", {"model_id": "nobody", "parts": [HOLE]}).status_code == 404
