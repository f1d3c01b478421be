from __future__ import annotations

import json

import pytest

from tests.soak.report import MAX_REASONS, Plan, Report, Rest

FIRST = Rest(resident_mb=400.0, anonymous_mb=300.0, num_files=10, num_threads=5)


def report(last: Rest, longest_stall_s: float = 0.1) -> Report:
    return Report(Plan(duration_s=60), rests=[FIRST, last], longest_stall_s=longest_stall_s)


def test_a_server_that_gives_everything_back_has_no_excess() -> None:
    found = report(Rest(resident_mb=439.0, anonymous_mb=339.0, num_files=12, num_threads=6))
    assert list(found.excesses()) == []
    assert found.verdict().endswith("passed")


@pytest.mark.parametrize(
    ("last", "stall_s", "excess"),
    [
        (Rest(444.0, 321.0, 10, 5), 0.1, "11.0% more memory resident at the last rest than after the warm-up"),
        (Rest(400.0, 300.0, 19, 5), 0.1, "19 open files, 10 after the warm-up"),
        (Rest(400.0, 300.0, 10, 14), 0.1, "14 threads, 5 after the warm-up"),
        (FIRST, 2.5, "the event loop answered nobody for 2.5 s"),
    ],
)
def test_an_excess_is_named(last: Rest, stall_s: float, excess: str) -> None:
    assert list(report(last, stall_s).excesses()) == [excess]


def test_memory_held_at_a_rest_in_between_is_an_excess_too() -> None:
    found = report(FIRST)
    found.rests.insert(1, Rest(resident_mb=504.0, anonymous_mb=404.0, num_files=10, num_threads=5))
    assert list(found.excesses()) == ["26.0% more memory resident at some rest than after the warm-up"]


def test_a_reason_makes_it_fail_and_many_of_a_kind_are_cut_short() -> None:
    found = report(FIRST)
    found.blame("clients", [f"reason {number}" for number in range(MAX_REASONS + 5)])
    assert len(found.reasons) == MAX_REASONS + 1
    assert found.reasons[-1] == "clients: 5 more of these"
    assert "FAILED\nclients: reason 0" in found.verdict()
    assert json.loads(json.dumps(found.as_json()))["passed"] is False
