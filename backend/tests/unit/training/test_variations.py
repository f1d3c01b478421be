"""The judgement of the defaults: what an argument says, and that the service writes by it."""

from __future__ import annotations

import pytest

from tests.unit.training.test_judge import uniform_judge
from training import judge, variations
from training.continuation import Continuation
from training.evaluate import ASSETS
from training.variations import read_changes, varied


def test_an_argument_names_parameters_with_values_of_json_or_words() -> None:
    assert read_changes("temperature=0.4,cache=dual") == {"temperature": 0.4, "cache": "dual"}
    for wrong in ("temperature", "=1", "top_k=", "top_k=5,"):
        with pytest.raises(ValueError, match="name=value"):
            read_changes(wrong)


def test_the_service_writes_by_the_defaults_and_by_each_variation(monkeypatch: pytest.MonkeyPatch) -> None:
    true = [Continuation("Once upon a time", " there was a dog", True), Continuation("The cat", " sat", True)]
    monkeypatch.setattr(judge, "MAX_NEW_TOKENS", 16)
    monkeypatch.setattr(variations, "load_judge", uniform_judge)
    monkeypatch.setattr(variations, "english_words", lambda: frozenset({"there", "was", "a", "dog"}))
    monkeypatch.setattr(variations, "read_texts", list)
    monkeypatch.setattr(variations, "heldout_beginnings", lambda texts, count: true)
    found = varied("llada", ASSETS / "llada", ["max_length=8", "max_length=3"])
    assert list(found) == ["true text", "defaults", "max_length=8", "max_length=3"]
    assert found["true text"]["ratio"] == 1.0
    assert found["max_length=3"]["mean_words"] < found["max_length=8"]["mean_words"] < found["defaults"]["mean_words"]
