from __future__ import annotations

from typing import Any

import pytest

from training.card import model_card
from training.continuation import distinct
from training.recipe import read_recipe

RESULTS: dict[str, Any] = {
    "data": {
        "train": {"documents": 1234, "tokens": 5000, "bytes": 20000, "sha256": "abc"},
        "heldout": {"documents": 12, "tokens": 50, "bytes": 200, "sha256": "def"},
        "sources": [
            {"archive": "flask-3.1.3-py3-none-any.whl", "licence": "BSD"},
            {"archive": "bible-kjv-text_4.38_all.deb", "licence": "text public domain"},
        ],
    },
    "run": {"step": 10, "tokens": 10000, "minutes": 3.0, "curve": []},
    "parameters_stored": 3_000_000,
    "parameters_trained": 2_500_000,
    "masked_0.5": {"cross_entropy": 3.5, "accuracy": 0.4, "lookup_accuracy": 0.25},
    "continuation": {
        "continuations": 40,
        "mean_words": 30.0,
        "ends_by_itself": 0.9,
        "words_seen_in_training": 0.97,
        "distinct_1": 0.6,
        "distinct_4": 0.95,
        "examples": ["He said\nso."],
    },
}


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_the_card_states_data_licences_and_scores_beside_the_baseline(model: str) -> None:
    card = model_card(read_recipe(model, "cpu"), RESULTS)
    assert "| 0.5 | 3.50 | 40.0% | 25.0% |" in card
    assert "- BSD: flask 3.1.3" in card
    assert "- text public domain: bible-kjv-text 4.38" in card
    assert "2.0 passes over the data" in card
    assert "    He said\n    so." in card
    assert "## Limits" in card


def test_repetition_is_counted_within_each_text() -> None:
    assert distinct(["a b c d", "a b c d"], 4) == 1.0
    assert distinct(["so so so so"], 1) == 0.25
    assert distinct(["too short"], 4) == 0.0
