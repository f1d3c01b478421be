from __future__ import annotations

import numpy as np

from training.baselines import LineLookup, NeighbourLookup
from training.infilling import hide_line, parses
from training.prepare import Corpus


def test_the_prediction_uses_the_narrowest_context_that_was_seen() -> None:
    ids = np.array([1, 2, 3, 1, 2, 3, 1, 4, 5], dtype=np.uint16)
    lookup = NeighbourLookup(Corpus(ids, np.array([9]), np.zeros(1, dtype=np.bool_)), 6)
    assert lookup.predict(1, 3) == 2
    assert lookup.predict(1, 5) == 4
    assert lookup.predict(1, None) == 2
    assert lookup.predict(None, 5) == 4
    assert lookup.predict(None, None) == 1


def test_lines_are_looked_up_between_their_neighbours() -> None:
    lookup = LineLookup(["a\nb\nc\n", "a\nb\nc\n", "a\nx\nd\n"])
    assert lookup.predict("a", "c") == "b"
    assert lookup.predict("a", "unseen") == "b"
    assert lookup.predict("a", "d") == "x"


def test_the_hidden_line_put_back_gives_the_function() -> None:
    for number in range(10):
        text = f"def f(x):\n    y = x + {number}\n    return y\n"
        case = hide_line(text)
        assert case.completed(case.line) == text
        assert case.prefix.startswith("def f(x):\n")
        assert parses(case.completed(case.line))
