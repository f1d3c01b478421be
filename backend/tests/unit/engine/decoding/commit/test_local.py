from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.commit.local import LEAP, leaping

confidences = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=10)


@given(confidences, st.floats(0.3, 1.0), st.floats(0.0, 0.3))
def test_a_leap_lowers_the_threshold_only_near_confident_positions(
    sure: list[float], threshold: float, near: float
) -> None:
    positions = [3 * index for index in range(len(sure))]
    chosen = leaping(sure, positions, threshold, near)
    anchors = [position for position, confidence in zip(positions, sure, strict=True) if confidence >= threshold]
    for index, (position, confidence) in enumerate(zip(positions, sure, strict=True)):
        is_near = any(abs(position - anchor) <= LEAP for anchor in anchors)
        assert (index in chosen) == (confidence >= threshold or (is_near and confidence >= near))
