from __future__ import annotations

from math import exp, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.gap import TYPICAL_LENGTH, WEIGHT_PER_OCTAVE, choose_length, score

surprises = st.lists(st.floats(0, 10), min_size=1, max_size=40)


@given(surprises)
def test_the_score_is_the_mean_log_probability_less_the_cost_of_an_unusual_length(surprises: list[float]) -> None:
    octaves = log2(len(surprises) / TYPICAL_LENGTH)
    expected = -sum(surprises) / len(surprises) - WEIGHT_PER_OCTAVE * octaves**2
    assert score([exp(-surprise) for surprise in surprises]) == pytest.approx(expected, abs=1e-9)


@given(st.lists(surprises, min_size=1, max_size=6, unique_by=len))
def test_the_highest_score_wins(gaps: list[list[float]]) -> None:
    confidences = [[exp(-surprise) for surprise in gap] for gap in gaps]
    chosen = choose_length([len(gap) for gap in gaps], confidences)
    assert max(score(gap) for gap in confidences) == next(score(gap) for gap in confidences if len(gap) == chosen)


@pytest.mark.parametrize("length", [1, 3, 12, 30])
def test_a_confident_model_decides(length: int) -> None:
    lengths = [1, 3, 12, 30]
    assert choose_length(lengths, [[0.9 if other == length else 1e-4] * other for other in lengths]) == length


def test_without_an_opinion_the_gap_is_of_typical_length() -> None:
    lengths = [1, 4, 12, 40]
    assert choose_length(lengths, [[0.5] * length for length in lengths]) == 12


def test_the_shortest_of_equally_good_lengths_wins() -> None:
    # One octave above and one below the typical length.
    assert choose_length([24, 6], [[0.5] * 24, [0.5] * 6]) == 6


def test_a_probability_of_zero_is_allowed() -> None:
    assert choose_length([10, 12], [[0.0] * 10, [0.1] * 12]) == 12
