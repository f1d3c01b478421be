from __future__ import annotations

import pytest
import torch

from app.engine.models.base import FamilyModel
from tests.unit.training.conftest import TEXTS, tiny_recipe
from training.baselines import LineLookup
from training.infilling import (
    HiddenLine,
    Outcome,
    fixed,
    gap_of,
    hidden_lines,
    infill,
    line_scores,
    score_baselines,
    score_infilling,
    take_out,
    variable,
)
from training.initial import build
from training.objectives import Language
from training.prepare import Corpus, Document, encode
from training.tokenizer import train_tokenizer


@pytest.fixture
def model(dreamon_language: Language) -> FamilyModel:
    torch.manual_seed(1)
    model = build(tiny_recipe("dream", {}), dreamon_language.tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


@pytest.mark.parametrize("num_masks", [None, 4])
def test_infills_do_not_depend_on_the_cases_beside_them(
    model: FamilyModel, dreamon_language: Language, corpus: Corpus, num_masks: int | None
) -> None:
    cases = hidden_lines(corpus, dreamon_language, 12)
    for canvas in (fixed(dreamon_language, num_masks), variable(dreamon_language, num_masks or 8)):
        together = infill(model, dreamon_language, cases, canvas)
        assert together == [infill(model, dreamon_language, [case], canvas)[0] for case in cases]


def test_a_fixed_canvas_takes_one_pass_a_token(model: FamilyModel, dreamon_language: Language, corpus: Corpus) -> None:
    cases = hidden_lines(corpus, dreamon_language, 3)
    for case, outcome in zip(cases, infill(model, dreamon_language, cases, fixed(dreamon_language, None)), strict=True):
        assert outcome.surplus == 0
        assert outcome.num_passes == len(dreamon_language.encode(case.line))


def test_lines_are_the_same_for_every_tokenizer(dreamon_language: Language, corpus: Corpus) -> None:
    long = f"def f():\n    return {'x' * 500}\n"
    other = train_tokenizer(["x = 1\n"], 262, "dream")
    texts = [Document(text, text) for text in (*reversed(TEXTS), long)]
    language = Language(other, dreamon_language.special, is_code=True)
    cases = hidden_lines(encode(other, texts), language, 12)
    assert cases == hidden_lines(corpus, dreamon_language, 12)
    assert len({case.completed(case.line) for case in cases}) == 12


def test_every_canvas_is_scored(model: FamilyModel, dreamon_language: Language, corpus: Corpus) -> None:
    scores = score_infilling(model, dreamon_language, hidden_lines(corpus, dreamon_language, 2))
    assert next(iter(scores)) == "oracle_length"
    for masks in (4, 8, 16, 32):
        assert scores[f"fixed_{masks}_masks"]["mean_forward_passes"] == masks
        assert f"variable_from_{masks}_masks" in scores


def test_long_surroundings_are_cut_far_from_the_gap(dreamon_language: Language) -> None:
    case = HiddenLine("a\n" * 500 + "near = 1\n", "x = 2", "\nclose = 3\n" + "b\n" * 500)
    gap = gap_of(case, dreamon_language, 200)
    assert len(gap.before) + len(gap.after) + 64 <= 200
    assert gap.before[0] == dreamon_language.special.bos
    assert dreamon_language.decode(gap.before).endswith("a\nnear = 1\n")
    assert dreamon_language.decode(gap.after).startswith("\nclose = 3\nb\n")
    assert dreamon_language.special.eos not in gap.after


def test_the_prefix_gets_the_room_that_a_short_suffix_leaves(dreamon_language: Language) -> None:
    case = HiddenLine("a\n" * 500, "x = 2", "\n")
    gap = gap_of(case, dreamon_language, 200)
    assert len(gap.before) + len(gap.after) + 64 == 200
    assert gap.after[-1] == dreamon_language.special.eos


def test_scores_of_the_true_lines_are_perfect(dreamon_language: Language, corpus: Corpus) -> None:
    cases = hidden_lines(corpus, dreamon_language, 5)
    scores = line_scores(cases, [Outcome(case.line, 0, 1) for case in cases])
    assert (scores["exact_match"], scores["edit_similarity"], scores["parses"], scores["empty"]) == (1, 1, 1, 0)


def test_an_empty_infill_is_no_success() -> None:
    case = take_out("def f(x):\n    y = x\n    return y\n", 1)
    empty = line_scores([case], [Outcome("", -4, 1)])
    assert (empty["parses"], empty["empty"], empty["mean_length_error"]) == (0, 1, 4)


def test_baselines_are_scored_on_the_same_cases(dreamon_language: Language, corpus: Corpus) -> None:
    cases = hidden_lines(corpus, dreamon_language, 5)
    scores = score_baselines(cases, LineLookup(TEXTS))
    assert 0 <= scores["lookup_exact_match"] <= scores["lookup_edit_similarity"] <= 1
    assert 0 <= scores["deleting_the_line_parses"] <= 1
