from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.batches import BatchQueue, Drawing, deal, draw_samples
from training.objectives import OBJECTIVES, Batch, Language, Sample, scattered
from training.prepare import Corpus, Document, encode
from training.recipe import Stage

PLAIN, VARIABLE = Stage(0.5, {"scattered": 1.0}), Stage(1.0, {"variable_gap": 1.0})


@pytest.fixture
def drawing(corpus: Corpus, dreamon_language: Language) -> Drawing:
    return Drawing(corpus, dreamon_language, batch_tokens=300, seed=3, shift=1)


@pytest.fixture
def queue(drawing: Drawing) -> Iterator[BatchQueue]:
    queue = BatchQueue(drawing, num_workers=2)
    yield queue
    queue.close()


def are_equal(one: Batch, other: Batch) -> bool:
    names = ("ids", "positions", "rows", "targets", "weights")
    return one.lengths == other.lengths and all(torch.equal(getattr(one, n), getattr(other, n)) for n in names)


def test_batches_depend_on_the_step(drawing: Drawing) -> None:
    assert are_equal(drawing.take(4, PLAIN), drawing.take(4, PLAIN))
    assert not are_equal(drawing.take(4, PLAIN), drawing.take(5, PLAIN))


def test_prose_is_asked_by_its_own_mixture_and_has_no_lines(
    dreamon_language: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    for objective in ("lines", "tail"):

        def ask(*given: Any, objective: str = objective) -> Sample:
            asked.append((objective, dreamon_language.decode(given[0]), given[2].is_code))
            return scattered(*given)

        monkeypatch.setitem(OBJECTIVES, objective, ask)
    texts = [Document("def a(): return", "", is_code=True), Document("Once upon a time", "")]
    corpus = encode(dreamon_language.tokenizer, texts)
    draw_samples(corpus, dreamon_language, Stage(1.0, {"lines": 1.0}, {"tail": 1.0}), 500, [0])
    assert set(asked) == {("lines", texts[0].text, True), ("tail", texts[1].text, False)}
    asked.clear()
    draw_samples(corpus, dreamon_language, Stage(1.0, {"lines": 1.0}), 500, [0])
    assert set(asked) == {("lines", text.text, True) for text in texts}


@pytest.mark.thorough
def test_batches_drawn_ahead_equal_those_drawn_on_demand_across_stages_and_jumps(
    drawing: Drawing, queue: BatchQueue
) -> None:
    asked = [(step, PLAIN if step < 6 else VARIABLE) for step in (0, 1, 2, 3, 4, 5, 6, 7, 20, 21)]
    for step, stage in asked:
        assert are_equal(queue.take(step, stage), drawing.take(step, stage))


PROGRAM = """
import time
from multiprocessing import active_children
from training.batches import BatchQueue, Drawing, deal
from training.recipe import Stage
from tests.unit.training import conftest
from training.prepare import Document, encode

if __name__ == "__main__":
    language = conftest.language_for("dream")
    corpus = encode(language.tokenizer, [Document(text, text) for text in conftest.TEXTS])
    queue = BatchQueue(Drawing(corpus, language, 300, 3, 1), num_workers=1)
    queue.take(0, Stage(1.0, {"scattered": 1.0}))
    print(*[child.pid for child in active_children()], flush=True)
    time.sleep(600)
"""


def has_ended(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_the_workers_of_a_killed_run_leave_too(tmp_path: Path) -> None:
    backend = Path(__file__).resolve().parents[3]
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(PROGRAM))
    environment = os.environ | {"PYTHONPATH": f"{backend}{os.pathsep}{backend.parent}"}
    with subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        workers = [int(word) for word in run.stdout.readline().split()]
        run.send_signal(signal.SIGKILL)
    assert workers
    deadline = time.monotonic() + 20
    while not all(map(has_ended, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(has_ended, workers))


def test_a_pool_is_dealt_out_whole_and_with_few_different_lengths() -> None:
    chance = np.random.default_rng(0)
    samples = [Sample([0] * int(size), []) for size in chance.integers(20, 200, size=640)]
    batches = deal(samples, 16, [1])
    assert sorted(len(s.ids) for batch in batches for s in batch) == sorted(len(s.ids) for s in samples)
    assert {len(batch) for batch in batches} == {40}
    for batch in batches:
        lengths = [len(sample.ids) for sample in batch]
        assert len(set(lengths)) < 25  # 36 of 40 without dealing
        assert sum(lengths) / len(lengths) == pytest.approx(109, rel=0.1)
