from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.commit.rule import Candidates
from app.engine.decoding.commit.threshold import Threshold
from app.engine.interface.params import DecodingParams


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=12), st.floats(0.01, 1))
def test_a_threshold_takes_all_above_it_or_the_best(scores: list[float], threshold: float) -> None:
    rule = Threshold(DecodingParams(12, confidence_threshold=threshold))
    candidates = Candidates(range(len(scores)), scores)
    above = [index for index, score in enumerate(scores) if score >= threshold]
    assert rule.confident(candidates) == above
    assert rule.choose(candidates) == (above or [scores.index(max(scores))])
