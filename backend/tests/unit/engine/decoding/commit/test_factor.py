from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.commit.factor import within_factor
from app.engine.decoding.selection import best

confidences = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=10)


@given(confidences, st.floats(0.01, 12))
def test_a_factor_takes_the_surest_as_long_as_all_of_them_are_sure_enough_for_so_many(
    sure: list[float], factor: float
) -> None:
    chosen = within_factor(sure, factor)
    assert chosen == best(sure, len(chosen))
    fits = [all((n + 1) * (1 - sure[i]) < factor for n, i in enumerate(best(sure, m), 1)) for m in range(1, 11)]
    assert len(chosen) == sum(fits[: len(sure)])
