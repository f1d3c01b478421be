"""Scores a checkpoint on held-out documents, always beside a baseline: `python -m training.evaluate --model dreamon`.

Writes `results/<model>.json` (for other weights than the embedded ones, `results.json` beside them) and the
checkpoint's CARD.md. Fixed seeds; infilling is greedy. With `--quick` every score
rests on a handful of documents and baselines on a part of the training text: it shows that the program works, prints
the card, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from app.engine.families.checkpoint import load_model
from app.engine.models.base import FamilyModel
from training.baselines import LineLookup, NeighbourLookup
from training.bits import TextBaselines, chosen_documents, model_bits
from training.card import model_card
from training.continuation import score_continuation, words_of
from training.decoding import Sampling, fill, fill_blocks, fill_variable
from training.examples import examples
from training.humaneval import score_humaneval
from training.infilling import hidden_lines, score_baselines, score_infilling
from training.objectives import Answer, Batch, Language, Sample, collate
from training.prepare import Corpus, load_corpus, prepare
from training.recipe import Recipe, read_recipe

ROOT = Path(__file__).parent
ASSETS = ROOT.parent / "backend" / "app" / "assets" / "models"
RESULTS = ROOT / "results"
RUNS = ROOT / "runs"
RATIOS = (0.15, 0.5, 0.85)
DOCUMENTS_PER_BATCH = 16


@dataclass(frozen=True, slots=True)
class Counts:
    """The largest numbers of things to measure; there are fewer where the held-out part has fewer."""

    masked_documents: int = 200
    bits_documents: int = 800
    lines: int = 400
    continuations: int = 64
    humaneval_cases: int = 200
    examples: int = 13
    training_documents: int | None = None
    """The number of documents that the baselines learn from; `None` is all of them, as for the model."""


FULL = Counts()
QUICK = Counts(8, 8, 6, 4, 6, 2, training_documents=2000)


def masked_scores(
    model: FamilyModel, language: Language, heldout: Corpus, num_documents: int
) -> dict[str, dict[str, float]]:
    """The cross-entropy (nats) and accuracy at hidden text tokens, for each masking ratio."""
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
    """The samples, with equal documents and hidden positions for every model and baseline."""
    chance = np.random.default_rng(0)
    chosen = chance.permutation(len(heldout))[:num_documents]
    return [hide(heldout[int(i)].tolist(), ratio, language, chance) for i in chosen]


def hide(document: list[int], ratio: float, language: Language, chance: np.random.Generator) -> Sample:
    """The document with exactly the given share of its tokens, at least one, hidden at random positions."""
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
"""The prompts of the samples in the log, for code (`True`) and for prose."""


def sample_texts(model: FamilyModel, language: Language, heldout: Corpus) -> list[str]:
    """A few continuations and infills for people to read."""
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
    """The model of an exported checkpoint in float32, with no tensor missing or left over."""
    model = load_model(folder, torch.device("cpu"), torch.float32)
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


class Evaluation:
    """The scoring of one checkpoint on held-out data; it prints its progress.

    Raises:
        ValueError: the prepared tokens belong to another tokenizer than the checkpoint's.
    """

    def __init__(self, recipe: Recipe, checkpoint: Path, log: Path, counts: Counts) -> None:
        self.recipe, self.checkpoint, self.log, self.counts = recipe, checkpoint, log, counts
        self._started = time.monotonic()
        self.model, tokenizer = load_exported(checkpoint)
        self.data = prepare(recipe, tokenizer)
        if Tokenizer.from_file(str(self.data / "tokenizer.json")).to_str() != tokenizer.to_str():
            raise ValueError(
                f"{self.data} was prepared with another tokenizer than {checkpoint}'s: delete it and retry"
            )
        self.language = Language(tokenizer, self.model.config.special, recipe.data["kind"] == "python")
        self.train = load_corpus(self.data / "train.npz")
        self.heldout = {part: load_corpus(self.data / f"{part}.npz") for part in ("heldout", "heldout-prose")}
        self._say("counting what stands in the training text")
        self.training_texts = self._training_texts()
        self.words = {word for text in self.training_texts for word in words_of(text)}
        self.baselines = TextBaselines(self.training_texts)

    def results(self) -> dict[str, Any]:
        """All scores, beside those of the baselines."""
        return {
            "data": json.loads((self.data / "manifest.json").read_text()),
            "run": run_summary(self.log, results_file(self.recipe, self.checkpoint)),
            "counts": asdict(self.counts),
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            **self._masked(),
            "bits_per_byte": {part: self._bits(part) for part in self._parts()},
            **(self._infilling() if self.language.special.expand is not None else {}),
            "continuation": {part: self._continuation(part) for part in self._parts()},
            "examples": self._examples(),
        }

    def _parts(self) -> list[str]:
        return [part for part, corpus in self.heldout.items() if len(corpus)]

    def _training_texts(self) -> list[str]:
        order = np.random.default_rng(3).permutation(len(self.train))[: self.counts.training_documents]
        return [self.language.decode(self.train[int(i)].tolist()) for i in sorted(order)]

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._started:6.0f} s  {what}", flush=True)

    def _masked(self) -> dict[str, dict[str, float]]:
        self._say("hidden tokens")
        heldout, count = self.heldout["heldout"], self.counts.masked_documents
        scores = masked_scores(self.model, self.language, heldout, count)
        lookup = NeighbourLookup(self.train, self.recipe.shape["vocab_size"])
        for ratio in RATIOS:
            samples = hidden_samples(self.language, heldout, count, ratio)
            accuracy = lookup.accuracy(samples, self.language.special.mask)
            scores[f"masked_{ratio}"]["lookup_accuracy"] = round(accuracy, 4)
        return scores

    def _bits(self, part: str) -> dict[str, Any]:
        self._say(f"bits per byte, {part}")
        documents = chosen_documents(self.heldout[part], self.counts.bits_documents)
        texts = [self.language.decode(document) for document in documents]
        return {**model_bits(self.model, self.language, documents), "baselines": self.baselines.scores(texts)}

    def _infilling(self) -> dict[str, Any]:
        self._say("single-line infilling")
        lookup = LineLookup(self.training_texts)
        cases = hidden_lines(self.heldout["heldout"], self.language, self.counts.lines)
        lines = {
            "functions": len(cases),
            **score_infilling(self.model, self.language, cases),
            "baselines": score_baselines(cases, lookup),
        }
        self._say("HumanEval-Infilling")
        humaneval = score_humaneval(self.model, self.language, lookup, self.counts.humaneval_cases)
        return {"single_line_infilling": lines, "humaneval_infilling": humaneval}

    def _continuation(self, part: str) -> dict[str, Any]:
        self._say(f"continuation, {part}")
        count = self.counts.continuations
        return score_continuation(self.model, self.language, self.heldout[part], self.words, self.baselines, count)

    def _examples(self) -> list[dict[str, str]]:
        self._say("examples")
        return examples(self.recipe.name, self.checkpoint, self.counts.examples)


def run_summary(log: Path, earlier: Path) -> dict[str, Any] | None:
    """The counters at the end of a run's log, and its learning curve: tokens and cross-entropy with half hidden.

    If the log is missing, as in a fresh checkout with the shipped weights, the summary comes from an earlier evaluation
    (the file `earlier`); it is `None` if there is none.
    """
    if not log.exists():
        return json.loads(earlier.read_text())["run"] if earlier.exists() else None
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    reports = [entry for entry in entries if entry["kind"] == "report"]
    return {
        **{counter: entries[-1][counter] for counter in ("step", "tokens", "minutes")},
        "warm_starts": [entry["from"] for entry in entries if entry["kind"] == "warm_start"],
        "curve": [(entry["tokens"], entry["masked_0.5"]["cross_entropy"]) for entry in reports],
    }


def results_file(recipe: Recipe, checkpoint: Path) -> Path:
    """The file for the results: in `results/` for the embedded models, beside the weights for others."""
    is_embedded = checkpoint.resolve() == (ASSETS / recipe.name).resolve()
    return RESULTS / f"{recipe.name}.json" if is_embedded else checkpoint / "results.json"


def write(recipe: Recipe, results: dict[str, Any], checkpoint: Path) -> None:
    """Writes the results as JSON, and the card beside the weights."""
    target = results_file(recipe, checkpoint)
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    (checkpoint / "CARD.md").write_text(model_card(recipe, results))
    print(f"wrote {target} and {checkpoint / 'CARD.md'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, choices=("dreamon", "llada"))
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--checkpoint", type=Path, help="folder to score (default: the embedded model's)")
    parser.add_argument("--run", help="name of the run under training/runs (default: the model's and the preset's)")
    parser.add_argument("--quick", action="store_true", help="a handful of documents; prints the card, writes nothing")
    arguments = parser.parse_args()
    recipe = read_recipe(arguments.model, arguments.preset)
    checkpoint = arguments.checkpoint or ASSETS / arguments.model
    log = RUNS / (arguments.run or f"{arguments.model}-{arguments.preset}") / "log.jsonl"
    results = Evaluation(recipe, checkpoint, log, QUICK if arguments.quick else FULL).results()
    print(model_card(recipe, results))
    if not arguments.quick:
        write(recipe, results, checkpoint)


if __name__ == "__main__":
    main()
