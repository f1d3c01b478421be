from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.soak.ledger import Ledger, Seen, Visit

VISITS = [
    Visit("a", Seen.SUCCESSFUL, request_id="1", duration_s=0.5, num_tokens=7),
    Visit("a", Seen.FAILED, "timeout", "2"),
    Visit("b", Seen.LEFT, request_id="3"),
    Visit("b", Seen.GONE),
    Visit("c", Seen.UNCOUNTED, "422", "5"),
]
COUNTED: dict[str, Any] = {
    "total_requests": 4,
    "successful_requests": 1,
    "failed_requests": 1,
    "cancelled_requests": 2,
    "requests_in_flight": 0,
    "total_tokens_generated": 9,
}
METRICS = {"reynard_requests_total": 4.0}
ENDS = {"1": ["successful"], "2": ["failed"], "3": ["cancelled"], "4": ["cancelled"]}


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    for visit in VISITS:
        ledger.note(visit)
    return ledger


def differences(ledger: Ledger, metrics: Mapping[str, float] = METRICS, changes: Mapping[str, int] = {}) -> list[str]:
    return list(ledger.differences({**COUNTED, **changes}, metrics, ENDS))


def test_equal_counts_are_no_difference(ledger: Ledger) -> None:
    assert differences(ledger) == []
    assert ledger.num_visits == len(VISITS)


def test_the_server_may_not_have_seen_a_client_that_left(ledger: Ledger) -> None:
    without = {request_id: told for request_id, told in ENDS.items() if request_id != "4"}
    counted = {**COUNTED, "total_requests": 3, "cancelled_requests": 1}
    assert list(ledger.differences(counted, {"reynard_requests_total": 3.0}, without)) == []


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"total_requests": 2}, "total_requests is 2, the clients saw 3 to 4"),
        ({"total_requests": 5}, "total_requests is 5, the clients saw 3 to 4"),
        ({"successful_requests": 0}, "successful_requests is 0, the clients saw 1 to 3"),
        ({"failed_requests": 4}, "failed_requests is 4, the clients saw 1 to 3"),
        ({"cancelled_requests": 1}, "total_requests is 4, its parts are 3 and 0 in flight"),
        ({"total_tokens_generated": 6}, "clients were told of 7 tokens, 6 were counted"),
    ],
)
def test_a_wrong_count_is_a_complaint(ledger: Ledger, changes: dict[str, int], difference: str) -> None:
    assert difference in differences(ledger, changes=changes)


def test_a_slot_that_stays_taken_is_a_complaint(ledger: Ledger) -> None:
    metrics = {**METRICS, "reynard_requests_running": 1.0}
    assert differences(ledger, metrics) == ["1 requests running on an idle server: a place is stuck"]


def test_metrics_that_disagree_are_a_complaint(ledger: Ledger) -> None:
    assert differences(ledger, {}) == ["total_requests is 4, the metrics say 0"]


@pytest.mark.parametrize(
    ("ends", "difference"),
    [
        ({"1": []}, "request 1, successful to its client, ended 0 times: []"),
        ({"2": ["failed", "failed"]}, "request 2, failed to its client, ended 2 times: ['failed', 'failed']"),
        ({"1": ["cancelled"]}, "request 1, successful to its client, was counted as cancelled"),
    ],
)
def test_a_request_that_did_not_end_exactly_once_is_a_complaint(
    ledger: Ledger, ends: dict[str, list[str]], difference: str
) -> None:
    assert difference in list(ledger.differences(COUNTED, METRICS, ENDS | ends))


def test_a_repeated_request_id_is_a_complaint(ledger: Ledger) -> None:
    ledger.note(VISITS[0])
    assert ledger.complaints == ["a: the request id 1 was given twice"]
