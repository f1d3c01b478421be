"""Trains one embedded model: `python -m training.train --model dreamon --preset cpu`.

Every batch is a function of seed, step and progress alone, so an interrupted run goes on from its last checkpoint as
if nothing had happened. Progress is the used share of the budget, by tokens or by minutes, whichever is larger.
SIGINT and SIGTERM end a run after the step that is under way, with a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from app.engine.families.checkpoint import load_model
from app.engine.models.base import FamilyModel
from training.batches import BatchQueue, Drawing, on_device
from training.evaluate import masked_scores, sample_texts
from training.export import export
from training.growth import grow
from training.initial import build, is_embedding
from training.interruption import Interruption
from training.muon import Muon
from training.objectives import Batch, Language
from training.parallel import Gradients
from training.plots import draw_run
from training.precision import is_bf16_worthwhile
from training.prepare import load_corpus, prepare
from training.progress import RunLog
from training.recipe import Recipe, Schedule, read_recipe
from training.sources import SourceError

ROOT = Path(__file__).resolve().parent
ASSETS = ROOT.parent / "backend" / "app" / "assets" / "models"
LOG_EVERY_STEPS = 10
MAX_WORKERS = 12


@dataclass(frozen=True, slots=True)
class Options:
    """The files and the device of a run; nothing here changes the content of a batch."""

    target: Path
    """The folder that the weights are exported to."""
    picture: Path | None = None
    """The SVG file of the run's curves; without it none is drawn."""
    warm_start: tuple[Path, ...] = ()
    """The folders of exported checkpoints with the tokenizer and the weights to begin with, of several their mean."""
    grow_from: Path | None = None
    """The folder of a smaller exported checkpoint, whose weights those to begin with are grown from."""
    data: Path | None = None
    """The folder of the prepared tokens, if it is not the one in the cache."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    is_bf16: bool = False
    """Whether forward, backward and Muon's products are computed in bfloat16; weights stay float32."""
    num_workers: int = 0
    """The number of processes that draw batches ahead; with 0 they are drawn when they are needed."""
    max_shard_bytes: int | None = None


def optimizers(model: FamilyModel, schedule: Schedule, *, is_bf16: bool = False) -> list[torch.optim.Optimizer]:
    """The optimizers: Muon for the matrices of the layers, AdamW for the embedding, the norms and the biases."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and not is_embedding(name)]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or is_embedding(name)]
    return [
        Muon(matrices, lr=schedule.muon_rate, weight_decay=schedule.weight_decay, is_bf16=is_bf16),
        torch.optim.AdamW(others, lr=schedule.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_factor(step: int, progress: float, schedule: Schedule) -> float:
    """The learning rate relative to its peak: warm-up by steps, then constant, then linear down to the final rate."""
    warmup = min(1.0, (step + 1) / schedule.warmup_steps)
    if progress <= schedule.constant_until:
        return warmup
    decay = min((progress - schedule.constant_until) / (1 - schedule.constant_until), 1.0)
    return warmup * (1 - (1 - schedule.final_rate) * decay)


def load_trained(model: FamilyModel, folders: Sequence[Path], tokenizer: Tokenizer) -> None:
    """Loads exported weights into a model for further training, of several checkpoints their mean.

    The mean of two runs that began with the same weights is often as good as either (arXiv 2203.05482). The head stays
    tied to the embedding.

    Raises:
        ValueError: the weights belong to another tokenizer than the prepared data.
        CheckpointError: a folder holds no checkpoint, or its tensors contradict its configuration.
        RuntimeError: a checkpoint has another shape than the recipe.
    """
    for number, folder in enumerate(folders, 1):
        check_tokenizer(folder, tokenizer)
        trained = load_model(folder, torch.device("cpu"), torch.float32).state_dict()
        before = model.state_dict()
        model.load_state_dict({name: torch.lerp(before[name], trained[name], 1 / number) for name in before})


def check_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Raises `ValueError` where a checkpoint has another tokenizer than the prepared data."""
    if exported_tokenizer(folder).to_str() != tokenizer.to_str():
        raise ValueError(
            f"the prepared texts have another tokenizer than {folder}: "
            "delete their folder in training/.cache/data, or name a new one with --data"
        )


def exported_tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def origin(folder: Path) -> Any:
    """The log's entry for a warm start: the run that gave the embedded weights, or the folder's name."""
    results = ROOT / "results" / f"{folder.name}.json"
    if folder.resolve().parent == ASSETS and results.exists():
        return json.loads(results.read_text())["run"]
    return folder.resolve().name


class TrainingRun:
    """One training run and its folder: weights, optimizers, moving average, counters, log."""

    def __init__(self, recipe: Recipe, folder: Path, options: Options) -> None:
        self.recipe, self.schedule, self.folder, self.options = recipe, recipe.schedule, folder, options
        start = options.warm_start
        data = prepare(recipe, exported_tokenizer(start[0]) if start else None, options.data)
        self.tokenizer = Tokenizer.from_file(str(data / "tokenizer.json"))
        self.corpus, self.heldout = load_corpus(data / "train.npz"), load_corpus(data / "heldout.npz")
        torch.manual_seed(self.schedule.seed)
        self.model = build(recipe, self.tokenizer)
        if start:
            load_trained(self.model, start, self.tokenizer)
        elif smaller := options.grow_from:
            trained = load_model(smaller, torch.device("cpu"), torch.float32)
            grow(self.model, self.tokenizer, trained, exported_tokenizer(smaller))
        self.model.to(options.device)
        self.language = Language(self.tokenizer, self.model.config.special, recipe.data["kind"] == "python")
        self.gradients = Gradients(self.model, is_bf16=options.is_bf16)
        self.optimizers = optimizers(self.model, self.schedule, is_bf16=options.is_bf16)
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self.log = RunLog(folder)

    @property
    def progress(self) -> float:
        return max(self.tokens / self.schedule.tokens, self.seconds / (60 * self.schedule.minutes))

    def train(self) -> signal.Signals | None:
        """Trains to the end of the budget, and writes checkpoints, reports and exported weights on the way.

        The result is the signal that ended the run early, if one did; then there is a checkpoint to resume from.
        """
        self._begin()
        batches = self._batches()
        try:
            with Interruption() as interruption:
                self._loop(batches, interruption)
            self._save()
            if interruption.signal is None:
                self._report()
            else:
                self._log(kind="interrupted", signal=interruption.signal.name)
        finally:
            batches.close()
            self.gradients.close()
            self.log.close()
        return interruption.signal

    def _begin(self) -> None:
        if (self.folder / "checkpoint.pt").exists():
            self._resume()
            return
        grown = (self.options.grow_from,) if self.options.grow_from else ()
        for earlier in self.options.warm_start or grown:
            self._log(kind="warm_start", **{"from": origin(earlier)})

    def _batches(self) -> Drawing | BatchQueue:
        shift = self.model.config.prediction_shift
        drawing = Drawing(self.corpus, self.language, self.schedule.batch_tokens, self.schedule.seed, shift)
        return BatchQueue(drawing, self.options.num_workers) if self.options.num_workers else drawing

    def _loop(self, batches: Drawing | BatchQueue, interruption: Interruption) -> None:
        last_checkpoint = last_report = time.monotonic()
        while self.progress < 1 and interruption.signal is None:
            self._train_step(batches)
            now = time.monotonic()
            if now - last_checkpoint > self.schedule.checkpoint_every_s:
                self._save()
                last_checkpoint = now
            if now - last_report > self.schedule.report_every_s:
                self._report()
                last_report = now

    def _train_step(self, batches: Drawing | BatchQueue) -> None:
        started = time.monotonic()
        factor = rate_factor(self.step, self.progress, self.schedule)
        batch = on_device(batches.take(self.step, self.schedule.stage_at(self.progress)), self.options.device)
        loss = optimise(self.gradients, self.model, self.optimizers, batch, factor, self.schedule)
        self._update_average()
        seconds, num_tokens = time.monotonic() - started, len(batch.ids)
        self.step, self.tokens, self.seconds = self.step + 1, self.tokens + num_tokens, self.seconds + seconds
        if self.step % LOG_EVERY_STEPS == 0:
            speed = round(num_tokens / seconds)
            self._log(kind="train", loss=loss, tokens_per_second=speed, rate=round(factor, 4))

    @torch.no_grad()
    def _update_average(self) -> None:
        # Young runs average over fewer steps, or the random start would stay in the mean.
        decay = min(self.schedule.average_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)

    def _report(self) -> None:
        """Logs scores and samples of the averaged weights and exports them, all on the CPU."""
        average = {name: value.cpu() for name, value in self.average.items()}
        judged = build(self.recipe, self.tokenizer)
        judged.load_state_dict(average)
        scores = masked_scores(judged, self.language, self.heldout, num_documents=48)
        self._log(kind="report", **scores, samples=sample_texts(judged, self.language, self.heldout))
        shape, options = self.recipe.shape, self.options
        family, defaults = self.recipe.family, self.recipe.defaults
        export(average, self.tokenizer, family, shape, options.target, options.max_shard_bytes, defaults)
        self._draw()

    def _draw(self) -> None:
        if self.options.picture is not None:
            try:
                draw_run(self.folder, self.options.picture, self.recipe.name)
            except ModuleNotFoundError:
                print(
                    'no plots without matplotlib: pip install -e backend/reynard_diffusion -e "backend[train]"',
                    file=sys.stderr,
                )

    def _log(self, **fields: Any) -> None:
        counters = {"step": self.step, "tokens": self.tokens, "minutes": round(self.seconds / 60, 2)}
        self.log.write(counters | {"progress": round(self.progress, 4)} | fields)

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
        """Resumes from the checkpoint, whatever device it was written on."""
        state = torch.load(self.folder / "checkpoint.pt", map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = {name: value.to(self.options.device) for name, value in state["average"].items()}
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for name, value in state["counters"].items():
            setattr(self, name, value)
        self._log(kind="resumed")


def optimise(
    gradients: Gradients,
    model: FamilyModel,
    chosen: list[torch.optim.Optimizer],
    batch: Batch,
    factor: float,
    schedule: Schedule,
) -> float:
    """Makes one step of all optimizers at `factor` of their peak rates, and gives the loss before it."""
    loss = gradients.compute(batch)
    nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
    for optimizer, peak in zip(chosen, (schedule.muon_rate, schedule.adam_rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is CUDA if there is one, else the CPU.

    Raises:
        ValueError: CUDA is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("this machine or this build of torch has no CUDA: leave --device out, or give --device cpu")
    is_cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if is_cuda else "cpu")


def read_arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=("dreamon", "llada"))
    parser.add_argument(
        "--preset",
        default="cpu",
        help="section of the recipe: cpu, gpu, quick; start of llada, code of dreamon (default: cpu)",
    )
    parser.add_argument(
        "--quick", dest="preset", action="store_const", const="quick", help="the same as --preset quick"
    )
    parser.add_argument("--minutes", type=float, help="another time budget than the recipe's")
    parser.add_argument("--tokens", type=float, help="another token budget than the recipe's")
    parser.add_argument("--muon-rate", type=float, help="another peak rate than the recipe's")
    parser.add_argument("--batch-tokens", type=int, help="another batch size than the recipe's")
    parser.add_argument("--checkpoint-every", dest="checkpoint_every_s", type=float, metavar="SECONDS")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--warm-start",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="an exported checkpoint to go on from; of several, the mean of their weights",
    )
    start.add_argument("--grow-from", type=Path, metavar="FOLDER", help="a smaller exported checkpoint to grow from")
    parser.add_argument("--run", help="folder of the run, under training/runs or anywhere (default: MODEL-PRESET)")
    parser.add_argument("--data", type=Path, help="folder of the prepared tokens (default: in training/.cache/data)")
    parser.add_argument("--target", type=Path, help="where the weights are exported (default: the embedded models)")
    parser.add_argument("--max-shard-mib", type=float, help="export the weights in files of at most this size")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--workers", type=int, help="processes that draw batches (default: 0 on the CPU, some on CUDA)")
    return parser.parse_args(given)


def changed_recipe(arguments: argparse.Namespace) -> Recipe:
    """The recipe's preset with the values that the command line replaces."""
    recipe = read_recipe(arguments.model, arguments.preset)
    names = ("minutes", "tokens", "muon_rate", "batch_tokens", "checkpoint_every_s")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    return replace(recipe, schedule=replace(recipe.schedule, **given))


def run_folder(arguments: argparse.Namespace) -> Path:
    return ROOT / "runs" / (arguments.run or f"{arguments.model}-{arguments.preset}")


SHIPPED_PRESETS = ("cpu", "gpu")
"""The presets of the embedded models: only these export there without being asked to."""


def target_folder(arguments: argparse.Namespace) -> Path:
    """The folder for the exported weights; those of a quick run never replace the embedded ones.

    Raises:
        ValueError: a quick run would be exported to the embedded models.
    """
    is_shipped = arguments.preset in SHIPPED_PRESETS
    target: Path = arguments.target or (ASSETS / arguments.model if is_shipped else run_folder(arguments) / "export")
    if arguments.preset == "quick" and ASSETS in (target.resolve(), *target.resolve().parents):
        raise ValueError(f"a quick run is no model to be shipped: give a --target outside of {ASSETS}")
    return target


def earlier_results(recipe: Recipe) -> list[Path]:
    """The exported checkpoints that a recipe's preset begins with.

    Raises:
        ValueError: one of them has not been trained yet.
    """
    folders = [ROOT / "runs" / f"{recipe.name}-{preset}" / "export" for preset in recipe.begin_with]
    for preset, folder in zip(recipe.begin_with, folders, strict=True):
        if not folder.exists():
            raise ValueError(
                f"the preset {recipe.preset!r} begins with the preset {preset!r}, which has not been trained: "
                f"run it with --preset {preset} first, or name a checkpoint with --grow-from or --warm-start"
            )
    return folders


def beginning_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The checkpoints to begin with, as the fields of `Options`: those of the command line, or else the recipe's."""
    if arguments.warm_start or arguments.grow_from:
        return {"warm_start": tuple(arguments.warm_start), "grow_from": arguments.grow_from}
    recipe = read_recipe(arguments.model, arguments.preset)
    earlier = earlier_results(recipe)
    are_as_large = all(read_recipe(arguments.model, preset).shape == recipe.shape for preset in recipe.begin_with)
    return {"warm_start": tuple(earlier)} if are_as_large else {"grow_from": earlier[0]}


def options_of(arguments: argparse.Namespace) -> Options:
    device = choose_device(arguments.device)
    target = target_folder(arguments)
    is_embedded = target.resolve().parent == ASSETS
    picture = ROOT / "results" / f"{arguments.model}-run.svg" if is_embedded else run_folder(arguments) / "run.svg"
    is_cuda = device.type == "cuda"
    default_workers = max(1, min(MAX_WORKERS, (os.cpu_count() or 1) - 2)) if is_cuda else 0
    return Options(
        target=target,
        picture=picture,
        **beginning_of(arguments),
        data=arguments.data,
        device=device,
        is_bf16=arguments.precision == "bfloat16" or (arguments.precision == "auto" and is_bf16_worthwhile(device)),
        num_workers=default_workers if arguments.workers is None else arguments.workers,
        max_shard_bytes=round(arguments.max_shard_mib * 2**20) if arguments.max_shard_mib else None,
    )


def main() -> None:
    arguments = read_arguments()
    try:
        run = TrainingRun(changed_recipe(arguments), run_folder(arguments), options_of(arguments))
    except (ValueError, SourceError) as error:
        sys.exit(f"training.train: {error}")
    ended_by = run.train()
    if ended_by is not None:
        print(f"{ended_by.name}: saved at step {run.step}; the same command goes on from there", file=sys.stderr)
        sys.exit(128 + ended_by)


if __name__ == "__main__":
    main()
