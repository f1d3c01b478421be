from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from training import card
from training.card import SOURCES, model_card, presets_until
from training.prepare import PROSE
from training.recipe import read_recipe

TEXT_SCORES = {
    "mean_words": 30.0,
    "without_words": 0.0,
    "ends_by_itself": 0.9,
    "degenerate": 0.12,
    "words_seen_in_training": 0.97,
    "distinct_1": 0.6,
    "distinct_2": 0.8,
    "distinct_4": 0.95,
    "witten_bell_bits_per_byte": 1.7,
}
LINE_SCORES = {
    "exact_match": 0.075,
    "edit_similarity": 0.4,
    "parses": 0.6,
    "empty": 0.01,
    "mean_length_error": 2.5,
    "mean_forward_passes": 9.1,
}
LINE_BASELINES = {
    "lookup_exact_match": 0.06,
    "lookup_edit_similarity": 0.35,
    "lookup_parses": 0.59,
    "deleting_the_line_parses": 0.5,
}
RESULTS: dict[str, Any] = {
    "data": {
        "train": {"documents": 1234, "tokens": 5000, "bytes": 20000, "sha256": "abc"},
        "heldout": {"documents": 12, "tokens": 50, "bytes": 200, "sha256": "def"},
        "sources": [
            {"archive": "flask-3.1.3-py3-none-any.whl", "licence": "BSD"},
            {"archive": "dict-jargon_4.4.7-3.1_all.deb", "licence": "text public domain"},
        ],
    },
    "run": {"step": 10, "tokens": 10000, "minutes": 3.0, "curve": []},
    "parameters": 2_500_000,
    "masked_0.5": {"cross_entropy": 3.5, "accuracy": 0.4, "lookup_accuracy": 0.25},
    "bits_per_byte": {
        "heldout": {
            "documents": 12,
            "draws_per_document": 8,
            "bits_per_byte": 1.9,
            "monte_carlo_error": 0.004,
            "baselines": {
                "xz_alone": 2.9,
                "xz_given_training_text": 2.2,
                "witten_bell": {"order": 5, "bits_per_byte": 1.8},
            },
        }
    },
    "continuation": {
        "heldout": {
            "continuations": 40,
            "prompt_tokens": 16,
            "max_new_tokens": 192,
            "temperature": 0.7,
            "decoding": "block by block",
            "model": TEXT_SCORES,
            "true_text": TEXT_SCORES | {"degenerate": 0.01},
            "examples": [{"prompt": "Then ", "text": "he said\nso."}],
        }
    },
    "examples": [
        {"before": "User: Why?\n\nAssistant:", "text": " Yes.", "after": ""},
        {"before": "a ", "text": "b", "after": " c"},
    ],
}


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_the_card_states_data_licences_and_scores_beside_the_baseline(model: str) -> None:
    card = model_card(read_recipe(model, "cpu"), RESULTS)
    assert "| 0.5 | 3.50 | 40.0% | 25.0% |" in card
    assert "| 12 | 1.900 ± 0.004 | 2.900 | 2.200 | 1.800 |" in card
    assert "| BSD | flask 3.1.3 |" in card
    assert "| text public domain | dict-jargon 4.4.7-3.1 |" in card
    assert "2.0 passes over today's data" in card
    assert "| degenerate repetition | 12.0% | 1.0% |" in card
    assert "    Then ▸he said\n    so." in card
    assert "    User: Why?\n    \n    Assistant:▸ Yes.\n" in card
    assert "    a ▸b◂ c\n" in card
    assert "## Limits" in card


def test_infilling_stands_beside_its_baselines() -> None:
    lines = {"functions": 9, "oracle_length": LINE_SCORES, "baselines": LINE_BASELINES}
    humaneval = {
        "cases": 200,
        "cases_of_benchmark": 1033,
        "time_limit_s": 3,
        "memory_limit_bytes": 1 << 30,
        "variable_from_8_masks": LINE_SCORES | {"pass_at_1": 0.03},
        "baselines": LINE_BASELINES
        | {"lookup_pass_at_1": 0.02, "deleting_the_line_pass_at_1": 0.04, "true_line_pass_at_1": 1.0},
    }
    both = RESULTS | {"single_line_infilling": lines, "humaneval_infilling": humaneval}
    card = model_card(read_recipe("dreamon", "cpu"), both)
    assert "| oracle length | 7.5% | 0.40 | 60.0% | 1.0% | 2.5 | 9.1 |" in card
    assert "| baseline: look-up by neighbouring lines | 6.0% | 0.35 | 59.0% |" in card
    assert "| variable from 8 masks | 3.0% | 7.5% |" in card
    assert "| baseline: delete the line | 4.0% | 0.0% |" in card
    assert "1,033 cases" in card
    assert "1024 MiB" in card


def test_a_grown_model_is_rebuilt_from_those_before_it() -> None:
    assert model_card(read_recipe("dreamon", "cpu"), RESULTS).endswith(
        "## Rebuild it\n\n"
        "    python -m training.train --model dreamon --preset code\n"
        "    python -m training.train --model dreamon --preset grown\n"
        "    python -m training.train --model dreamon --preset further\n"
        "    python -m training.train --model dreamon --preset settled\n"
        "    python -m training.train --model dreamon --preset english\n"
        "    python -m training.train --model dreamon --preset cpu\n"
        "    python -m training.evaluate --model dreamon --preset cpu\n"
    )
    assert "preset code" not in model_card(read_recipe("dreamon", "gpu"), RESULTS)


def test_a_mixture_of_prose_stands_beside_that_of_code() -> None:
    card = model_card(read_recipe("dreamon", "english"), RESULTS)
    assert "variable_tail 12% (of prose: scattered 32%, gap 6%, " in card
    assert "(of prose:" not in model_card(read_recipe("dreamon", "settled"), RESULTS)


def test_every_preset_before_is_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {"small": (), "grown": ("small",), "further": ("grown",), "cpu": ("grown", "further")}
    recipes = {name: replace(read_recipe("dreamon", "cpu"), preset=name, begin_with=before[name]) for name in before}
    monkeypatch.setattr(card, "read_recipe", lambda _, preset: recipes[preset])
    assert presets_until(recipes["cpu"]) == ["small", "grown", "further", "cpu"]


def test_a_benchmark_that_was_not_fetched_is_not_hidden() -> None:
    card = model_card(read_recipe("dreamon", "cpu"), RESULTS | {"humaneval_infilling": {"unavailable": "no network"}})
    assert "not measured, the problems could not be fetched (no network)" in card


FIRST = {"step": 5, "tokens": 5000, "minutes": 60.0, "curve": []}


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (None, "Neither the run's log nor an earlier evaluation"),
        (FIRST, "From scratch:\n  0.01M tokens (1.0 passes over today's data) in 5 steps and 60 minutes."),
        (FIRST | {"warm_starts": ["some-folder"]}, "From earlier weights (`some-folder`):\n"),
        (FIRST | {"warm_starts": [FIRST]}, "(0.01M tokens (1.0 passes over today's data) in 5 steps and 60 minutes):"),
        (FIRST | {"warm_starts": [FIRST | {"warm_starts": ["first"]}]}, "(`first`; 0.01M tokens"),
        (FIRST | {"warm_starts": [None]}, "(of an unknown run)"),
    ],
)
def test_the_card_says_where_the_weights_come_from(run: dict[str, Any] | None, expected: str) -> None:
    assert expected in model_card(read_recipe("llada", "cpu"), RESULTS | {"run": run})


@pytest.mark.parametrize("model", ["llada", "dreamon"])
def test_every_source_of_prose_has_its_remark(model: str) -> None:
    assert set(read_recipe(model, "cpu").data["prose"]) <= set(SOURCES)
    assert SOURCES.keys() == PROSE.keys()
