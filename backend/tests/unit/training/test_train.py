from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.unit.training.conftest import TEXTS, tiny_recipe, tokenizer_for
from training import train as program
from training.evaluate import load_exported
from training.initial import build
from training.objectives import OBJECTIVES, Language, collate
from training.prepare import Corpus, Document, encode, save_corpus
from training.recipe import Recipe, Stage, read_recipe
from training.train import Run, draw_samples, optimise, optimizers, rate_factor

VARIABLE = {"variable_gap": 0.7, "variable_tail": 0.3}
PLAIN = {"scattered": 0.6, "gap": 0.2, "tail": 0.2}


@pytest.mark.parametrize(("family", "mixture"), [("llada", PLAIN), ("dream", PLAIN), ("dream", VARIABLE)])
def test_a_few_steps_reduce_the_loss(
    family: str, mixture: dict[str, float], corpus: Corpus, request: pytest.FixtureRequest
) -> None:
    torch.manual_seed(0)
    name = "llada_language" if family == "llada" else "dreamon_language"
    language: Language = request.getfixturevalue(name)
    recipe = tiny_recipe(family, mixture)
    model = build(recipe, language.tokenizer)
    chosen = optimizers(model, recipe.schedule)
    samples = draw_samples(corpus, language, Stage(1.0, mixture), 1024, [0, 0])
    batch = collate(samples, model.config.prediction_shift)
    losses = [optimise(model, chosen, batch, 1.0, recipe.schedule) for _ in range(6)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for `prepare`: a folder with the made-up text as tokens."""
    tokenizer = tokenizer_for("dream")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokens = encode(tokenizer, [Document(text, text) for text in TEXTS])
    for part in ("train", "heldout"):
        save_corpus(tokens, tmp_path / f"{part}.npz")
    monkeypatch.setattr(program, "prepare", lambda recipe: tmp_path)
    monkeypatch.setattr(program, "sample_texts", lambda *_: [])
    return tmp_path


def budget(tokens: float) -> Recipe:
    """A recipe whose rates do not depend on its budget."""
    recipe = tiny_recipe("dream", PLAIN)
    return replace(recipe, schedule=replace(recipe.schedule, tokens=tokens))


def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(prepared: Path, tmp_path: Path) -> None:
    straight = Run(budget(5000), tmp_path / "straight", tmp_path / "out")
    straight.train()
    Run(budget(2500), tmp_path / "halves", tmp_path / "out").train()
    resumed = Run(budget(5000), tmp_path / "halves", tmp_path / "out")
    resumed.train()
    assert resumed.step == straight.step
    for name, value in straight.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value)


def test_a_run_leaves_a_log_and_a_checkpoint_that_loads_strictly(prepared: Path, tmp_path: Path) -> None:
    run = Run(budget(2500), tmp_path / "run", tmp_path / "out")
    run.train()
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert entries[-1]["kind"] == "report"
    assert {"masked_0.15", "masked_0.5", "masked_0.85"} <= entries[-1].keys()
    model, _ = load_exported(tmp_path / "out")
    assert not model.config.tied


def test_the_rate_warms_up_stays_and_falls() -> None:
    schedule = read_recipe("dreamon", "cpu").schedule
    factors = [rate_factor(step, progress, schedule) for step, progress in ((0, 0), (500, 0.2), (900, 0.7), (999, 1))]
    assert factors[0] == pytest.approx(1 / schedule.warmup_steps)
    assert factors[1] == 1.0
    assert factors[2] < 1.0
    assert factors[3] == pytest.approx(schedule.final_rate)


@pytest.mark.parametrize("model", ["dreamon", "llada"])
def test_the_recipes_can_be_read_and_name_known_objectives(model: str) -> None:
    recipe = read_recipe(model, "cpu")
    for stage in recipe.schedule.stages:
        assert set(stage.mixture) <= set(OBJECTIVES)
    assert recipe.schedule.stages[-1].until == 1.0


def test_expansion_is_trained_only_after_plain_masking() -> None:
    first = read_recipe("dreamon", "cpu").schedule.stage_at(0.0)
    assert not any(name.startswith("variable") for name in first.mixture)
