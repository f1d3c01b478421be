from __future__ import annotations

from app.engine.decoding.commit.rule import Candidates
from app.engine.decoding.commit.stability import Stability
from app.engine.interface.params import DecodingParams

INFINITE = float("inf")


def test_a_distribution_must_have_been_calm_for_two_steps() -> None:
    rule = Stability(DecodingParams(4, confidence_threshold=0.5, stability_bound=0.1))
    assert rule.choose(Candidates([7, 8, 9], [0.9, 0.8, 0.7], [INFINITE] * 3)) == [0]  # none is calm yet: the best
    assert rule.choose(Candidates([8, 9], [0.8, 0.9], [0.01, 0.01])) == [1]  # calm once: still the best alone
    assert rule.choose(Candidates([8, 9], [0.8, 0.4], [0.01, 0.01])) == [0]  # calm twice, and sure enough
    assert rule.choose(Candidates([9], [0.4], [0.2])) == [0]
    assert rule.choose(Candidates([9, 10], [0.6, 0.7], [0.0, 0.0])) == [1]  # a move begins the count anew
