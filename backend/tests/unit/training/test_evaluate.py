from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.training.conftest import SHAPE, TEXTS, tiny_recipe, tokenizer_for
from training import evaluate as program
from training import humaneval
from training.evaluate import Counts, Evaluation, results_file, run_summary, write
from training.export import export
from training.initial import build
from training.objectives import Language
from training.prepare import Document, encode, save_corpus
from training.recipe import Recipe
from training.sources import SourceError

FEW = Counts(2, 3, 2, 2, 2, examples=1)


def unreachable() -> list[dict[str, str]]:
    raise SourceError("human_eval: no network")


def recipe_for(family: str) -> Recipe:
    kind = "english" if family == "llada" else "python"
    name = "llada" if family == "llada" else "dreamon"
    return replace(tiny_recipe(family, {"scattered": 1.0}), name=name, data={"kind": kind, "prose": {"austen": 1.0}})


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prepared tokens and an exported checkpoint of random weights for both families."""
    torch.manual_seed(0)
    for family in ("llada", "dream"):
        tokenizer = tokenizer_for(family)
        data = tmp_path / f"data-{family}"
        data.mkdir()
        tokenizer.save(str(data / "tokenizer.json"))
        parts = {"train": TEXTS[:30], "heldout": TEXTS[30:], "heldout-prose": TEXTS[35:] if family == "dream" else []}
        sizes = {}
        for part, texts in parts.items():
            save_corpus(encode(tokenizer, [Document(text, text) for text in texts]), data / f"{part}.npz")
            sizes[part] = {"documents": len(texts), "tokens": 100, "bytes": 1000, "sha256": "abc"}
        sources = [{"archive": "flask-3.1.3-py3-none-any.whl", "licence": "BSD"}]
        (data / "manifest.json").write_text(json.dumps({**sizes, "sources": sources}))
        model = build(recipe_for(family), tokenizer)
        export(dict(model.state_dict()), tokenizer, family, SHAPE, tmp_path / family)
    monkeypatch.setattr(program, "prepare", lambda recipe, tokenizer: tmp_path / f"data-{recipe.family}")
    monkeypatch.setattr(humaneval, "read_problems", unreachable)
    return tmp_path


def results_of(family: str, folders: Path) -> dict[str, Any]:
    log = folders / "log.jsonl"
    log.write_text(json.dumps({"kind": "train", "step": 3, "tokens": 40, "minutes": 1.0}))
    return Evaluation(recipe_for(family), folders / family, log, FEW).results()


@pytest.mark.parametrize("family", ["llada", pytest.param("dream", marks=pytest.mark.thorough)])
def test_every_score_has_a_baseline_and_is_on_the_card(family: str, folders: Path) -> None:
    recipe, results = recipe_for(family), results_of(family, folders)
    parts = {"heldout"} if family == "llada" else {"heldout", "heldout-prose"}
    assert results["bits_per_byte"].keys() == results["continuation"].keys() == parts
    assert all("witten_bell" in scores["baselines"] for scores in results["bits_per_byte"].values())
    assert all("lookup_accuracy" in results[f"masked_{ratio}"] for ratio in program.RATIOS)
    assert ("single_line_infilling" in results) == (family == "dream")
    assert results["counts"]["masked_documents"] == 2
    write(recipe, results, folders / family)
    assert json.loads((folders / family / "results.json").read_text())["run"]["step"] == 3
    card = (folders / family / "CARD.md").read_text()
    assert "Witten-Bell, order 5" in card
    assert "    Once upon a time, in a magical forest▸" in card
    assert ("human_eval: no network" in card) == (family == "dream")


@pytest.mark.thorough
def test_the_same_scores_come_out_again(folders: Path) -> None:
    assert results_of("dream", folders) == results_of("dream", folders)


def test_tokens_of_another_tokenizer_are_refused(folders: Path) -> None:
    (folders / "data-dream" / "tokenizer.json").write_bytes((folders / "data-llada" / "tokenizer.json").read_bytes())
    with pytest.raises(ValueError, match="another tokenizer"):
        Evaluation(recipe_for("dream"), folders / "dream", folders / "log.jsonl", FEW)


def test_the_summary_of_a_run_names_the_weights_that_it_began_with(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    counters = {"step": 0, "tokens": 0, "minutes": 0.0}
    entries = [
        counters | {"kind": "warm_start", "from": {"step": 9, "tokens": 900, "minutes": 7.0}},
        {"step": 5, "tokens": 50, "minutes": 1.0, "kind": "report", "masked_0.5": {"cross_entropy": 4.0}},
    ]
    log.write_text("\n".join(json.dumps(entry) for entry in entries))
    summary = run_summary(log, tmp_path / "none.json")
    assert summary is not None
    assert summary["warm_starts"] == [{"step": 9, "tokens": 900, "minutes": 7.0}]
    assert (summary["step"], summary["curve"]) == (5, [(50, 4.0)])


def test_without_a_log_the_summary_of_the_last_evaluation_stays(tmp_path: Path) -> None:
    earlier = tmp_path / "llada.json"
    assert run_summary(tmp_path / "log.jsonl", earlier) is None
    earlier.write_text(json.dumps({"run": {"step": 7}}))
    assert run_summary(tmp_path / "log.jsonl", earlier) == {"step": 7}


def test_only_the_embedded_checkpoint_writes_the_shipped_results(tmp_path: Path) -> None:
    recipe = recipe_for("llada")
    assert results_file(recipe, program.ASSETS / "llada") == program.RESULTS / "llada.json"
    assert results_file(recipe, tmp_path) == tmp_path / "results.json"


def test_the_samples_of_the_log_can_be_drawn(folders: Path, dreamon_language: Language) -> None:
    model, _ = program.load_exported(folders / "dream")
    heldout = encode(dreamon_language.tokenizer, [Document(text, text) for text in TEXTS])
    texts = program.sample_texts(model, dreamon_language, heldout)
    assert len(texts) == 6
    assert all("▸" in text for text in texts)
