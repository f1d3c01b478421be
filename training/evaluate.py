"""Scores a checkpoint on held-out documents, always beside a baseline: `python -m training.evaluate --model dreamon`.

Writes `results/<model>.json` and the checkpoint's CARD.md. Fixed seeds; infilling is greedy.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer

from app.engine.models.base import FamilyModel
from app.engine.models.registry import build_model
from training.baselines import NeighbourLookup
from training.card import model_card
from training.continuation import score_continuation, words_of
from training.decoding import Sampling, fill, fill_blocks, fill_variable
from training.infilling import hidden_lines, score_baselines, score_infilling
from training.objectives import Answer, Batch, Language, Sample, collate
from training.prepare import Corpus, load_corpus, prepare
from training.recipe import Recipe, read_recipe

ROOT = Path(__file__).parent
ASSETS = ROOT.parent / "backend" / "app" / "assets" / "models"
RATIOS = (0.15, 0.5, 0.85)
DOCUMENTS_PER_BATCH = 16
NUM_DOCUMENTS = 200
NUM_LINES = 200
NUM_CONTINUATIONS = 40


def masked_scores(
    model: FamilyModel, language: Language, heldout: Corpus, num_documents: int
) -> dict[str, dict[str, float]]:
    """Cross-entropy (nats) and accuracy at hidden text tokens, for each masking ratio."""
    return {f"masked_{ratio}": _scores_at(model, language, heldout, num_documents, ratio) for ratio in RATIOS}


def _scores_at(
    model: FamilyModel, language: Language, heldout: Corpus, num_documents: int, ratio: float
) -> dict[str, float]:
    samples = hidden_samples(language, heldout, num_documents, ratio)
    loss = right = count = 0.0
    for start in range(0, len(samples), DOCUMENTS_PER_BATCH):
        batch = collate(samples[start : start + DOCUMENTS_PER_BATCH], model.config.prediction_shift)
        batch_loss, batch_right = _judge(model, batch)
        loss, right, count = loss + batch_loss, right + batch_right, count + len(batch.targets)
    return {"cross_entropy": round(loss / count, 4), "accuracy": round(right / count, 4)}


def hidden_samples(language: Language, heldout: Corpus, num_documents: int, ratio: float) -> list[Sample]:
    """The same documents and places for every model and baseline."""
    chance = np.random.default_rng(0)
    chosen = chance.permutation(len(heldout))[:num_documents]
    return [hide(heldout[int(i)].tolist(), ratio, language, chance) for i in chosen]


def hide(document: list[int], ratio: float, language: Language, chance: np.random.Generator) -> Sample:
    """Exactly that share of a document's tokens, at least one, hidden at random places."""
    count = max(1, round(ratio * len(document)))
    hidden = sorted(chance.permutation(len(document))[:count].tolist())
    first = len(language.beginning)
    ids = language.beginning + document
    for i in hidden:
        ids[first + i] = language.special.mask
    return Sample(ids, [Answer(first + i, document[i], 1.0) for i in hidden])


@torch.no_grad()
def _judge(model: FamilyModel, batch: Batch) -> tuple[float, float]:
    states = model.hidden(batch.ids, batch.positions, batch.lengths)
    logits = model.head(states[batch.rows]).float()
    loss = F.cross_entropy(logits, batch.targets, reduction="sum")
    return float(loss), float((logits.argmax(-1) == batch.targets).sum())


PROMPTS = {
    True: ("def add(a, b):\n", "def get_name(self):\n    ", "class Stack:\n    def push(self, item):\n"),
    False: ("Once upon a time, ", "The day was ", "And the king said "),
}
"""Beginnings to continue in the log, for code and for prose."""


def sample_texts(model: FamilyModel, language: Language, heldout: Corpus) -> list[str]:
    """A few continuations and infills, to be read by people."""
    texts = []
    for prompt in PROMPTS[language.is_code]:
        ids = fill_blocks(model, language.beginning + language.encode(prompt.rstrip(" ")), 48, 24, Sampling(0.7))
        texts.append(f"{prompt.rstrip(' ')}▸{language.decode(ids)}")
    chance = np.random.default_rng(1)
    for index in (3, 5, 8):
        prefix, middle, suffix = language.cut(heldout[index].tolist(), chance)
        before, after = language.beginning + prefix, [*suffix, language.special.eos]
        canvas = fill(model, before + [language.special.mask] * len(middle) + after)
        infill = language.decode(canvas[len(before) : len(before) + len(middle)])
        line = f"…{language.decode(prefix)[-60:]}▸{infill}◂ (true: {language.decode(middle)})"
        if language.special.expand is not None:
            line += f" (from 8: {language.decode(fill_variable(model, before, 8, after))})"
        texts.append(line)
    return texts


def load_exported(folder: Path) -> tuple[FamilyModel, Tokenizer]:
    """An exported checkpoint in float32, every tensor accounted for."""
    model = build_model(json.loads((folder / "config.json").read_text()))
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True)
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def evaluate(recipe: Recipe, checkpoint: Path) -> dict[str, Any]:
    """All scores of a checkpoint, with the baselines beside them."""
    data = prepare(recipe)
    train, heldout = load_corpus(data / "train.npz"), load_corpus(data / "heldout.npz")
    model, tokenizer = load_exported(checkpoint)
    language = Language(tokenizer, model.config.special, recipe.data["kind"] == "python")
    training_texts = [language.decode(train[i].tolist()) for i in range(len(train))]
    results: dict[str, Any] = {
        "data": json.loads((data / "manifest.json").read_text()),
        "run": run_summary(recipe),
        **count_parameters(model),
        **masked_scores(model, language, heldout, NUM_DOCUMENTS),
    }
    lookup = NeighbourLookup(train, recipe.shape["vocab_size"])
    for ratio in RATIOS:
        samples = hidden_samples(language, heldout, NUM_DOCUMENTS, ratio)
        results[f"masked_{ratio}"]["lookup_accuracy"] = round(lookup.accuracy(samples, language.special.mask), 4)
    if language.special.expand is not None:
        cases = hidden_lines(heldout, language, NUM_LINES)
        results["single_line_infilling"] = {
            "functions": len(cases),
            **score_infilling(model, language, cases),
            "baselines": score_baselines(cases, training_texts),
        }
    words = {word for text in training_texts for word in words_of(text)}
    results["continuation"] = score_continuation(model, language, heldout, words, NUM_CONTINUATIONS)
    return results


def run_summary(recipe: Recipe) -> dict[str, Any]:
    """Counters at the end of the run's log, and its learning curve: tokens and cross-entropy with half hidden."""
    log = ROOT / "runs" / f"{recipe.name}-{recipe.preset}" / "log.jsonl"
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    reports = [entry for entry in entries if entry["kind"] == "report"]
    curve = [(entry["tokens"], entry["masked_0.5"]["cross_entropy"]) for entry in reports]
    return {counter: entries[-1][counter] for counter in ("step", "tokens", "minutes")} | {"curve": curve}


def count_parameters(model: FamilyModel) -> dict[str, int]:
    stored = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters_stored": stored, "parameters_trained": stored - model.config.vocab_size * model.config.width}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, choices=("dreamon", "llada"))
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--checkpoint", type=Path, help="folder to score (default: the embedded model's)")
    arguments = parser.parse_args()
    recipe = read_recipe(arguments.model, arguments.preset)
    checkpoint = arguments.checkpoint or ASSETS / arguments.model
    results = evaluate(recipe, checkpoint)
    target = ROOT / "results" / f"{arguments.model}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    (checkpoint / "CARD.md").write_text(model_card(recipe, results))
    print(target.read_text())


if __name__ == "__main__":
    main()
