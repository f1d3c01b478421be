"""Trains one embedded model: `python -m training.train --model dreamon --preset cpu`.

Every batch is a function of seed, step and progress alone, so an interrupted run goes on from its last checkpoint as
if nothing had happened. Progress is the used share of the budget, by tokens or by minutes, whichever is larger.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from app.engine.models.base import FamilyModel
from training.evaluate import masked_scores, sample_texts
from training.export import export
from training.initial import build, is_embedding
from training.muon import Muon
from training.objectives import OBJECTIVES, Batch, Language, Sample, batch_loss, collate
from training.prepare import Corpus, load_corpus, prepare
from training.recipe import Recipe, Schedule, Stage, read_recipe

ROOT = Path(__file__).parent
ASSETS = ROOT.parent / "backend" / "app" / "assets" / "models"
CHECKPOINT_EVERY_S = 120
REPORT_EVERY_S = 300
LOG_EVERY_STEPS = 10


def optimizers(model: FamilyModel, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding, the norms and the biases."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and not is_embedding(name)]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or is_embedding(name)]
    return [
        Muon(matrices, lr=schedule.muon_rate, weight_decay=schedule.weight_decay),
        torch.optim.AdamW(others, lr=schedule.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_factor(step: int, progress: float, schedule: Schedule) -> float:
    """Warm-up by steps, then constant, then linear down to the final rate."""
    warmup = min(1.0, (step + 1) / schedule.warmup_steps)
    if progress <= schedule.constant_until:
        return warmup
    decay = min((progress - schedule.constant_until) / (1 - schedule.constant_until), 1.0)
    return warmup * (1 - (1 - schedule.final_rate) * decay)


def draw_samples(corpus: Corpus, language: Language, stage: Stage, batch_tokens: int, seed: list[int]) -> list[Sample]:
    """Samples of about `batch_tokens` tokens in all; their masking ratios are spread evenly over (0.02, 1)."""
    chance = np.random.default_rng(seed)
    names = list(stage.mixture)
    shares = np.array([stage.mixture[name] for name in names])
    expected = max(1, round(batch_tokens * len(corpus) / len(corpus.ids)))
    offset = chance.random()
    samples = []
    for i in chance.permutation(expected):
        document = corpus[int(chance.integers(len(corpus)))].tolist()
        name = names[int(chance.choice(len(names), p=shares / shares.sum()))]
        ratio = 0.02 + 0.98 * ((i + offset) / expected)
        samples.append(OBJECTIVES[name](document, ratio, language, chance))
    return samples


class Run:
    """One training run and its folder: weights, optimizers, moving average, counters, log."""

    def __init__(self, recipe: Recipe, folder: Path, target: Path) -> None:
        data = prepare(recipe)
        self.recipe, self.schedule = recipe, recipe.schedule
        self.folder, self.target = folder, target
        self.tokenizer = Tokenizer.from_file(str(data / "tokenizer.json"))
        self.corpus, self.heldout = load_corpus(data / "train.npz"), load_corpus(data / "heldout.npz")
        torch.manual_seed(self.schedule.seed)
        self.model = build(recipe, self.tokenizer)
        self.language = Language(self.tokenizer, self.model.config.special, recipe.data["kind"] == "python")
        self.optimizers = optimizers(self.model, self.schedule)
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def progress(self) -> float:
        return max(self.tokens / self.schedule.tokens, self.seconds / (60 * self.schedule.minutes))

    def train(self) -> None:
        """Runs to the end of the budget; writes checkpoints, reports and exported weights on the way."""
        self._resume()
        last_checkpoint = last_report = time.monotonic()
        while self.progress < 1:
            started = time.monotonic()
            loss, num_tokens = self._train_step()
            now = time.monotonic()
            self.step, self.tokens, self.seconds = self.step + 1, self.tokens + num_tokens, self.seconds + now - started
            if self.step % LOG_EVERY_STEPS == 0:
                self._log(kind="train", loss=loss, tokens_per_second=round(num_tokens / (now - started)))
            if now - last_checkpoint > CHECKPOINT_EVERY_S:
                self._save()
                last_checkpoint = now
            if now - last_report > REPORT_EVERY_S:
                self._report()
                last_report = now
        self._save()
        self._report()

    def _train_step(self) -> tuple[float, int]:
        stage = self.schedule.stage_at(self.progress)
        seed = [self.schedule.seed, self.step]
        samples = draw_samples(self.corpus, self.language, stage, self.schedule.batch_tokens, seed)
        batch = collate(samples, self.model.config.prediction_shift)
        factor = rate_factor(self.step, self.progress, self.schedule)
        loss = optimise(self.model, self.optimizers, batch, factor, self.schedule)
        self._update_average()
        return loss, len(batch.ids)

    @torch.no_grad()
    def _update_average(self) -> None:
        # Young runs average over fewer steps, or the random start would stay in the mean.
        decay = min(self.schedule.average_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def _report(self) -> None:
        """Scores and samples of the averaged weights go to the log, the weights to the assets."""
        judged = build(self.recipe, self.tokenizer)
        judged.load_state_dict(self.average)
        scores = masked_scores(judged, self.language, self.heldout, num_documents=48)
        self._log(kind="report", **scores, samples=sample_texts(judged, self.language, self.heldout))
        export(self.average, self.tokenizer, self.recipe.family, self.recipe.shape, self.target)

    def _log(self, **fields: Any) -> None:
        counters = {"step": self.step, "tokens": self.tokens, "minutes": round(self.seconds / 60, 2)}
        line = json.dumps(counters | {"progress": round(self.progress, 4)} | fields, ensure_ascii=False)
        print(line, flush=True)
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(line + "\n")

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "counters": {"step": self.step, "tokens": self.tokens, "seconds": self.seconds},
        }
        partial = self.folder / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for name, value in state["counters"].items():
            setattr(self, name, value)
        self._log(kind="resumed")


def optimise(
    model: FamilyModel, chosen: list[torch.optim.Optimizer], batch: Batch, factor: float, schedule: Schedule
) -> float:
    """One step of all optimizers at `factor` of their peak rates; gives the loss before it."""
    loss: Tensor = batch_loss(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
    for optimizer, peak in zip(chosen, (schedule.muon_rate, schedule.adam_rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, choices=("dreamon", "llada"))
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--minutes", type=float, help="another time budget than the recipe's")
    parser.add_argument("--muon-rate", type=float, help="another peak rate than the recipe's")
    parser.add_argument("--run", help="name of the run's folder under training/runs (default: the model's name)")
    parser.add_argument("--target", type=Path, help="where the weights are exported (default: the embedded models)")
    arguments = parser.parse_args()
    recipe = read_recipe(arguments.model, arguments.preset)
    changes = {"minutes": arguments.minutes, "muon_rate": arguments.muon_rate}
    schedule = replace(recipe.schedule, **{name: value for name, value in changes.items() if value is not None})
    folder = ROOT / "runs" / (arguments.run or f"{arguments.model}-{arguments.preset}")
    Run(replace(recipe, schedule=schedule), folder, arguments.target or ASSETS / arguments.model).train()


if __name__ == "__main__":
    main()
