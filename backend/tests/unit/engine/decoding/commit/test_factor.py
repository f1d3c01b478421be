from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.commit.factor import within_factor
from app.engine.decoding.selection import best

confidences = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=10)


@given(confidences, st.floats(0.01, 12))
def test_a_factor_takes_the_most_confident_while_all_are_confident_enough_for_their_number(
    sure: list[float], factor: float
) -> None:
    chosen = within_factor(sure, factor)
    assert chosen == best(sure, len(chosen))
    fits = [all((n + 1) * (1 - sure[i]) < factor for n, i in enumerate(best(sure, m), 1)) for m in range(1, 11)]
    assert len(chosen) == sum(fits[: len(sure)])
