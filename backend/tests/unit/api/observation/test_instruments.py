from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.api.observation.instruments import Instruments
from app.services.diffusion.requests.stats import Outcome, RunReport

ANSWERED = RunReport(
    Outcome.SUCCESSFUL,
    "infill",
    processing_time_s=2.0,
    requested_model="dreamon",
    model_id="dreamon",
    device="cpu",
    queue_time_s=0.5,
    first_text_s=0.75,
    num_tokens=24,
    num_denoising_steps=16,
)


def value(instruments: Instruments, name: str, **labels: str) -> float | None:
    return instruments.registry.get_sample_value(f"reynard_{name}", labels)


def counted(*reports: RunReport) -> Instruments:
    instruments = Instruments()
    for report in reports:
        instruments.requests.count(report)
    return instruments


def test_an_answered_request_is_counted_in_every_respect() -> None:
    instruments = counted(ANSWERED, ANSWERED)
    whole = {"operation": "infill", "model": "dreamon", "outcome": "successful"}
    assert value(instruments, "requests_total", **whole) == 2
    assert value(instruments, "request_duration_seconds_sum", **whole) == 4.0
    assert value(instruments, "queue_time_seconds_sum", model="dreamon") == 1.0
    assert value(instruments, "time_to_first_text_seconds_sum", operation="infill", model="dreamon") == 1.5
    assert value(instruments, "generated_tokens_total", model="dreamon") == 48
    assert value(instruments, "denoising_steps_total", model="dreamon") == 32
    assert value(instruments, "tokens_per_forward_sum", model="dreamon") == 3.0
    assert value(instruments, "tokens_per_forward_bucket", model="dreamon", le="1.25") == 0
    assert value(instruments, "tokens_per_forward_bucket", model="dreamon", le="1.5") == 2


def test_phases_that_did_not_happen_are_not_observed() -> None:
    instruments = counted(replace(ANSWERED, queue_time_s=None, first_text_s=None, num_tokens=0, num_denoising_steps=0))
    for name in ("queue_time_seconds_count", "tokens_per_forward_count"):
        assert value(instruments, name, model="dreamon") is None
    assert value(instruments, "time_to_first_text_seconds_count", operation="infill", model="dreamon") is None


@pytest.mark.parametrize(("code", "label"), [("timeout", "timeout"), ("", "internal_error")])
def test_failures_are_counted_by_code(code: str, label: str) -> None:
    instruments = counted(replace(ANSWERED, outcome=Outcome.FAILED, code=code))
    assert value(instruments, "request_failures_total", code=label) == 1
    assert value(instruments, "tokens_per_forward_count", model="dreamon") is None


def test_a_failure_that_never_happened_is_counted_as_zero() -> None:
    for code in ("timeout", "queue_full", "generation_failed", "internal_error"):
        assert value(Instruments(), "request_failures_total", code=code) == 0


def test_a_request_without_a_model_has_an_empty_label() -> None:
    instruments = counted(RunReport(Outcome.FAILED, "generate", 0.01, code="queue_full"))
    assert value(instruments, "requests_total", operation="generate", model="", outcome="failed") == 1
    assert value(instruments, "generated_tokens_total", model="") is None


def test_a_stand_in_is_counted_as_fallback() -> None:
    instruments = counted(ANSWERED, replace(ANSWERED, model_id="llada"))
    assert value(instruments, "model_fallbacks_total", requested="dreamon", answered="llada") == 1
    assert value(instruments, "model_fallbacks_total", requested="dreamon", answered="dreamon") is None


def test_two_sets_do_not_know_each_other() -> None:
    one, other = counted(ANSWERED), Instruments()
    labels: dict[str, Any] = {"operation": "infill", "model": "dreamon", "outcome": "successful"}
    assert value(one, "requests_total", **labels) == 1
    assert value(other, "requests_total", **labels) is None


def test_answers_are_counted_by_class_of_status() -> None:
    instruments = Instruments()
    for status in (200, 204, 404, 499):
        instruments.count_answer(route="/models", status=status)
    assert value(instruments, "http_responses_total", route="/models", status="2xx") == 2
    assert value(instruments, "http_responses_total", route="/models", status="4xx") == 2
