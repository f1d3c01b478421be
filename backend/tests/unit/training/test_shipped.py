"""The weights that are shipped, on held-out texts that are stored with the tests.

The bars come from `training/results/`, which the cards show: weights that were exchanged without being measured again,
or that a change of the engine makes worse, fall below them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig
from app.engine.interface.events import EngineEvent, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import FamilyModel
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState
from training.bits import NATS_PER_BIT, estimate_bound
from training.evaluate import ASSETS, RESULTS, load_exported
from training.infilling import Gap, HiddenLine, Outcome, fixed, gap_of, infill, line_scores, variable
from training.objectives import Language

HELDOUT = Path(__file__).parent / "heldout"
MAX_LENGTH = 64
NUM_COMPARED = 20
"""Lines on which the engine is compared with the plain loop, which takes seconds for each."""
MARGIN = 0.08
"""About two standard errors of a share measured on the stored lines."""


def stored(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HELDOUT / name).read_text(encoding="utf-8").splitlines()]


def results(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


@cache
def shipped(name: str) -> tuple[FamilyModel, Language]:
    model, tokenizer = load_exported(ASSETS / name)
    return model, Language(tokenizer, model.config.special, is_code=name == "dreamon")


@cache
def lines() -> list[HiddenLine]:
    return [HiddenLine(item["prefix"], item["line"], item["suffix"]) for item in stored("lines.jsonl")]


def engine_infills(gaps: list[Gap], masks: int) -> list[Outcome]:
    """Greedy, one commit a step, all gaps in one engine."""
    model, language = shipped("dreamon")
    params = DecodingParams(max_new_tokens=MAX_LENGTH, initial_masks=masks, algorithm="maskgit_plus")
    events: list[list[EngineEvent]] = [[] for _ in gaps]
    engine = Engine(ModelRunner(model), EngineConfig())
    for index, gap in enumerate(gaps):
        request = GenerationRequest(str(index), tuple(gap.before), tuple(gap.after), params)
        engine.add(RequestState(request, model.config, events[index].append))
    while engine.has_work:
        engine.step()
    infills = [[i for event in told if isinstance(event, Step) for i in event.new_final] for told in events]
    return [Outcome(language.decode(ids), len(ids) - gap.length, 0) for ids, gap in zip(infills, gaps, strict=True)]


@cache
def scores(masks: int | None) -> dict[str, float]:
    """The scores on the stored lines: of the engine from a number of masks, or of the plain loop at the true length."""
    model, language = shipped("dreamon")
    if masks is None:
        return line_scores(lines(), infill(model, language, lines(), fixed(language, None)))
    gaps = [gap_of(line, language, model.config.context_length) for line in lines()]
    return line_scores(lines(), engine_infills(gaps, masks))


@pytest.mark.thorough
@pytest.mark.parametrize("masks", [4, 16])
def test_the_engine_decodes_as_the_plain_loop_of_the_evaluation_does(masks: int) -> None:
    model, language = shipped("dreamon")
    some = lines()[:NUM_COMPARED]
    expected = infill(model, language, some, variable(language, masks))
    gaps = [gap_of(line, language, model.config.context_length) for line in some]
    assert [outcome.infill for outcome in engine_infills(gaps, masks)] == [outcome.infill for outcome in expected]


@pytest.mark.thorough
@pytest.mark.parametrize(("canvas", "masks"), [("oracle_length", None), ("variable_from_8_masks", 8)])
@pytest.mark.parametrize("metric", ["exact_match", "parses"])
def test_dreamon_fills_hidden_lines_as_well_as_its_card_says(canvas: str, masks: int | None, metric: str) -> None:
    promised = results("dreamon")["single_line_infilling"][canvas][metric]
    assert scores(masks)[metric] >= promised - MARGIN


@pytest.mark.thorough
def test_dreamon_parses_more_often_than_without_the_line() -> None:
    assert scores(8)["parses"] > results("dreamon")["single_line_infilling"]["baselines"]["deleting_the_line_parses"]


def test_llada_needs_fewer_bits_than_counting_does() -> None:
    model, language = shipped("llada")
    texts = [item["text"] for item in stored("prose.jsonl")]
    estimate = estimate_bound(model, language, [language.encode(text) for text in texts])
    bits = estimate.nats / NATS_PER_BIT / sum(len(text.encode()) for text in texts)
    promised = results("llada")["bits_per_byte"]["heldout"]
    assert bits < promised["bits_per_byte"] + 0.15
    assert bits < promised["baselines"]["witten_bell"]["bits_per_byte"]


def test_weights_are_finite_and_small_enough_to_ship() -> None:
    for name in ("dreamon", "llada"):
        model, _ = shipped(name)
        assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
        assert sum(file.stat().st_size for file in (ASSETS / name).glob("*.safetensors")) < 30e6
