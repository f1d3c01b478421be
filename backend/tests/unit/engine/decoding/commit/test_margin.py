from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.commit.factor import within_factor
from app.engine.decoding.commit.margin import Margin, within_margin
from app.engine.decoding.commit.rule import Candidates
from app.engine.decoding.selection import best
from app.engine.interface.params import DecodingParams

# Multiples of 1/64 add up without rounding, so whether a lead is above the margin is exact.
shares = st.integers(0, 64).map(lambda number: number / 64)
confidences = st.lists(shares, min_size=1, max_size=12)


def published_count(sure: list[float], margin: float) -> int:
    """The largest n with (sum of the n best) - (n - 1) - (1 - the n-th) > margin, by trying each n, else 0."""
    exact = sorted(map(Fraction, sure), reverse=True)
    return max(
        n for n in range(len(exact) + 1) if n == 0 or sum(exact[:n]) - (n - 1) - (1 - exact[n - 1]) > Fraction(margin)
    )


def test_the_worked_example() -> None:
    assert within_margin([0.5, 0.99, 0.9], 0.25) == [1, 2]


@given(confidences, shares)
def test_a_margin_takes_the_most_confident_as_long_as_they_lead_together(sure: list[float], margin: float) -> None:
    assert within_margin(sure, margin) == best(sure, published_count(sure, margin))


@given(confidences, shares, shares)
def test_a_wider_margin_takes_a_part_of_what_a_narrower_one_takes(sure: list[float], one: float, other: float) -> None:
    narrow, wide = sorted((one, other))
    taken = within_margin(sure, narrow)
    assert within_margin(sure, wide) == taken[: len(within_margin(sure, wide))]


@given(confidences, shares)
def test_one_is_committed_whatever_the_margin(sure: list[float], margin: float) -> None:
    rule = Margin(DecodingParams(len(sure), confidence_margin=margin))
    assert rule.choose(Candidates(range(len(sure)), sure))[0] == best(sure, 1)[0]


@given(shares, st.integers(1, 12), shares)
def test_equal_confidences_are_taken_as_by_the_factor_that_the_margin_leaves(
    confidence: float, count: int, margin: float
) -> None:
    equal = [confidence] * count
    assert within_margin(equal, margin) == within_factor(equal, 1 - margin)


@given(confidences, shares)
def test_a_margin_takes_at_least_what_its_factor_takes(sure: list[float], margin: float) -> None:
    assert len(within_margin(sure, margin)) >= len(within_factor(sure, 1 - margin))
