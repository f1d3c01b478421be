"""The whole path of `--quick` in real processes: from nothing, interrupted, resumed, exported, gone on from."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.evaluate import load_exported, masked_scores
from training.objectives import Language
from training.prepare import load_corpus
from training.progress import read_log

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).resolve().parents[4]
TOKENS = {"dreamon": 200_000, "llada": 160_000}
"""A budget of tokens, not of minutes: a busy machine takes longer and comes to the same weights."""
WARM_TOKENS = 50_000
NUM_HALF_WAY = 5
"""Lines of the log, of ten steps each, that a run has written about half-way."""
MOST_LOSS_LEFT = 0.93
NUM_TO_COMPARE = 2
"""Lines of the log that the beginnings of two runs are compared by."""


def command(model: str, run: Path, data: Path, *more: str) -> list[str]:
    program = [sys.executable, "-m", "training.train", "--model", model, "--quick", "--device", "cpu"]
    return [*program, "--minutes", "60", "--checkpoint-every", "0.5", "--run", str(run), "--data", str(data), *more]


def started(arguments: list[str]) -> subprocess.Popen[str]:
    # One thread: those of several small trainings beside each other would mostly wait for each other.
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'backend'}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(arguments: list[str]) -> None:
    process = started(arguments)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def interrupt(arguments: list[str], run: Path, with_signal: signal.Signals) -> tuple[int, str]:
    """Starts a run and signals it half-way, when it has a checkpoint; gives exit status and error output.

    A run that was over before we came to signal it is begun once more.
    """
    while True:
        status, errors = _interrupt(arguments, run, with_signal)
        if status != 0:
            return status, errors
        shutil.rmtree(run)


def _interrupt(arguments: list[str], run: Path, with_signal: signal.Signals) -> tuple[int, str]:
    process = started(arguments)
    try:
        while process.poll() is None and not is_half_way(run):
            time.sleep(0.05)
        process.send_signal(with_signal)
        _, errors = process.communicate()
        return process.returncode, errors
    finally:
        process.kill()


def is_half_way(run: Path) -> bool:
    return (run / "checkpoint.pt").exists() and (run / "log.jsonl").exists() and len(losses(run)) >= NUM_HALF_WAY


def losses(run: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(run) if entry["kind"] == "train"]


@pytest.fixture(
    scope="module", params=[("dreamon", signal.SIGKILL), ("llada", signal.SIGTERM)], ids=lambda p: str(p[0])
)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """A model, its run's folder and its data: trained with one interruption."""
    model, with_signal = request.param
    folder = tmp_path_factory.mktemp(model)
    run, data = folder / "run", folder / "data"
    arguments = command(model, run, data, "--tokens", str(TOKENS[model]))
    status, errors = interrupt(arguments, run, with_signal)
    if with_signal is signal.SIGKILL:
        assert status == -with_signal
    else:
        assert status == 128 + with_signal
        assert "SIGTERM: saved at step" in errors
    finish(arguments)
    return model, run, data


def test_an_interrupted_quick_run_ends_with_a_lower_loss(trained: tuple[str, Path, Path]) -> None:
    _, run, _ = trained
    kinds = [entry["kind"] for entry in read_log(run)]
    assert kinds.count("resumed") == 1
    assert kinds[-1] == "report"
    assert np.mean(losses(run)[-NUM_HALF_WAY:]) < MOST_LOSS_LEFT * losses(run)[0]


def test_its_export_knows_more_than_word_frequencies(trained: tuple[str, Path, Path]) -> None:
    model_name, run, data = trained
    model, tokenizer = load_exported(run / "export")
    heldout = load_corpus(data / "heldout.npz")
    language = Language(tokenizer, model.config.special, is_code=model_name == "dreamon")
    scores = masked_scores(model, language, heldout, num_documents=200)
    bar = unigram_cross_entropy(load_corpus(data / "train.npz").ids, heldout.ids, model.config.vocab_size)
    assert scores["masked_0.15"]["cross_entropy"] < bar - 0.1
    assert scores["masked_0.5"]["cross_entropy"] < bar


def unigram_cross_entropy(train: Any, heldout: Any, vocab_size: int) -> float:
    """The cross-entropy of held-out tokens in nats, from their frequencies in the training text (each plus one)."""
    counts = np.bincount(train, minlength=vocab_size) + 1.0
    return float(-np.log(counts / counts.sum())[heldout].mean())


def test_a_warm_start_begins_with_a_lower_loss(trained: tuple[str, Path, Path], tmp_path: Path) -> None:
    model, run, data = trained
    warm = tmp_path / "warm"
    arguments = command(model, warm, data, "--warm-start", str(run / "export"), "--tokens", str(WARM_TOKENS))
    finish(arguments)
    assert (read_log(warm)[0]["kind"], read_log(warm)[0]["from"]) == ("warm_start", "export")
    cold_start, warm_start = (np.mean(losses(folder)[:NUM_TO_COMPARE]) for folder in (run, warm))
    assert warm_start < cold_start - 0.1
