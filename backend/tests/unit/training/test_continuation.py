from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.training.conftest import TEXTS, tiny_recipe
from training.bits import TextBaselines
from training.continuation import (
    MAX_NEW_TOKENS,
    PROMPT_TOKENS,
    Continuation,
    beginnings,
    distinct,
    is_degenerate,
    score_continuation,
    text_scores,
    true_continuation,
    words_of,
)
from training.initial import build
from training.objectives import Language
from training.prepare import Corpus


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so so so so", True),
        ("so so so", False),
        ("of the house of the house of the house of the house", True),
        ("of the house of the house of the house and of the house", False),
        ("self_a_connection_connection_connection_connection", True),
        ("one two three four five six seven eight " * 4, True),
        ("It is a truth universally acknowledged, that a single man must be in want of a wife.", False),
        ("", False),
    ],
)
def test_degenerate_repetition(text: str, expected: bool) -> None:
    assert is_degenerate(text) is expected


def test_long_cycles_are_found_by_their_repeated_runs() -> None:
    cycle = " ".join("abcdefghijkl"[i] * 3 for i in range(12))
    assert is_degenerate(" ".join([cycle] * 3))
    assert not is_degenerate(cycle)


def test_repetition_is_counted_within_each_text() -> None:
    assert distinct(["a b c d", "a b c d"], 4) == 1.0
    assert distinct(["so so so so"], 1) == 0.25
    assert distinct(["a b a b a"], 2) == 0.5
    assert distinct(["too short"], 4) == 0.0


def test_scores_of_texts_without_words_are_defined() -> None:
    scores = text_scores([Continuation("def f(", ")\n", True)], set(), TextBaselines(TEXTS))
    assert scores["without_words"] == 1.0
    assert scores["distinct_1"] == 0.0
    assert scores["witten_bell_bits_per_byte"] > 0


def test_the_true_continuation_follows_the_prompt(dreamon_language: Language) -> None:
    document = dreamon_language.encode(TEXTS[0])
    true = true_continuation(dreamon_language, document)
    assert true.prompt + true.text == TEXTS[0]
    assert true.ended
    assert not true_continuation(dreamon_language, document * 20).ended
    assert len(dreamon_language.encode(true_continuation(dreamon_language, document * 20).text)) <= MAX_NEW_TOKENS


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_a_model_is_scored_beside_the_true_text(family: str, corpus: Corpus, request: pytest.FixtureRequest) -> None:
    torch.manual_seed(0)
    language: Language = request.getfixturevalue("llada_language" if family == "llada" else "dreamon_language")
    model = build(tiny_recipe(family, {}), language.tokenizer)
    words = {word for text in TEXTS for word in words_of(text)}
    scores = score_continuation(model, language, corpus, words, TextBaselines(TEXTS), 3)
    assert scores["continuations"] == 3
    assert scores["model"].keys() == scores["true_text"].keys()
    assert scores["true_text"]["words_seen_in_training"] == 1.0
    assert scores["true_text"]["ends_by_itself"] == 1.0
    assert scores["true_text"]["witten_bell_bits_per_byte"] < scores["model"]["witten_bell_bits_per_byte"]
    assert scores["examples"][0]["prompt"] in "".join(TEXTS)


def test_only_documents_with_something_to_continue_are_taken() -> None:
    corpus = Corpus(np.arange(60, dtype=np.uint16), np.array([20, 60]), np.zeros(2, dtype=np.bool_))
    [only] = beginnings(corpus, 5)
    assert len(only) == 40 > 2 * PROMPT_TOKENS
