from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.commit.entropy import within_entropy


@given(st.lists(st.floats(0.0, 9.0), min_size=1, max_size=10), st.floats(0.0, 30))
def test_an_entropy_bound_holds_for_all_but_the_most_uncertain_of_the_chosen(
    entropies: list[float], bound: float
) -> None:
    chosen = within_entropy(entropies, bound)
    ranking = sorted(range(len(entropies)), key=lambda index: entropies[index])
    assert chosen == ranking[: len(chosen)]
    assert sum(entropies[i] for i in chosen[:-1]) <= bound
    assert len(chosen) == len(entropies) or sum(entropies[i] for i in chosen) > bound - 1e-9
