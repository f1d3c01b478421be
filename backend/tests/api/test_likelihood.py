"""Likelihoods of texts over HTTP."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.api.serving import Server


def test_texts_are_scored_behind_a_prefix(server: Server) -> None:
    body = {"model_id": "llada", "prefix": "Once upon a", "texts": [" time", " time, there was"], "num_samples": 4}
    answer = server.answer("/likelihood", body)
    assert (answer["num_samples"], answer["seed"], answer["method"]) == (4, 0, "monte_carlo_bound")
    first = answer["likelihoods"][0]
    assert first["bytes"] == 5
    assert first["bits_per_byte"] == pytest.approx(-first["log_likelihood"] / math.log(2) / 5)
    assert server.answer("/likelihood", body)["likelihoods"] == answer["likelihoods"]


def test_the_bytes_are_those_of_the_text_that_was_sent(server: Server) -> None:
    body = {"model_id": "llada", "texts": ["a\r\nb", "a\nb"], "num_samples": 4}
    first, second = server.answer("/likelihood", body)["likelihoods"]
    assert (first["bytes"], second["bytes"]) == (4, 3)
    assert first["log_likelihood"] == second["log_likelihood"]
    assert first["bits_per_byte"] * 4 == pytest.approx(second["bits_per_byte"] * 3)


@pytest.mark.parametrize(
    ("body", "field", "complaint"),
    [
        ({}, "texts", "texts is missing"),
        ({"texts": []}, "texts", "is empty"),
        ({"texts": ["a", ""]}, "texts", r"texts[1] is empty"),
        ({"texts": ["a"] * 65}, "texts", "64"),
        ({"texts": ["a" * 6000, "b" * 6000]}, "texts", "12000 characters"),
        ({"texts": ["a"], "num_samples": 0}, "num_samples", "below the minimum of 1"),
        ({"texts": ["a"], "num_samples": 2000}, "num_samples", "above the maximum of 1024"),
        ({"texts": ["a"], "temperature": 1.0}, "temperature", "unknown field"),
    ],
)
def test_a_mistake_is_refused_by_name(server: Server, body: dict[str, Any], field: str, complaint: str) -> None:
    response = server.post("/likelihood", body)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == field
    assert complaint in error["message"]
