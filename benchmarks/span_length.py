"""Measures the gain from choosing the length of a gap: `python -m benchmarks.span_length`, from the repository root.

The program hides a run of tokens in held-out prose and has it filled greedily in four ways: with the length chosen by
first-step confidence (`decoding/gap.py`), always with the greatest length, always with the middle one, and with the
true length as the bound for any choice. It prints the error of the length, the similarity of the text, and forward
passes.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.engine.engine import Engine
from app.engine.families.checkpoint import load_model
from app.engine.interface.config import EngineConfig
from app.engine.interface.events import EngineEvent, Finished, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState
from app.services.diffusion.native.decoding import candidate_lengths
from app.text.tokenizer import Tokenizer

HERE = Path(__file__).parent
MODELS = HERE.parent / "backend" / "app" / "assets" / "models"
CONTEXT_TOKENS = 80


@dataclass(frozen=True)
class Gap:
    prefix: tuple[int, ...]
    hidden: tuple[int, ...]
    suffix: tuple[int, ...]


def gaps(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> list[Gap]:
    """The gaps, one per text; lengths are drawn evenly on a logarithmic scale from 1 to `max_length` / 2."""
    chance = random.Random(0)
    cut = []
    for text in texts:
        ids = tokenizer.encode(text)
        length = round(2 ** chance.uniform(0, np.log2(max_length / 2)))
        start = chance.randrange(10, max(len(ids) - length - 10, 11))
        end = start + length
        cut.append(
            Gap(
                tuple(ids[max(0, start - CONTEXT_TOKENS) : start]),
                tuple(ids[start:end]),
                tuple(ids[end : end + CONTEXT_TOKENS]),
            )
        )
    return [gap for gap in cut if len(gap.suffix) >= 5]


def fill(runner: ModelRunner, gap: Gap, lengths: tuple[int, ...]) -> tuple[list[int], int]:
    """The new ids and the number of forward passes; a single candidate length is taken without a choice."""
    events: list[EngineEvent] = []
    params = DecodingParams(max_new_tokens=max(lengths), mask_lengths=lengths, eos_never_predicted=True)
    engine = Engine(runner, EngineConfig())
    request = GenerationRequest("gap", gap.prefix, gap.suffix, params)
    engine.add(RequestState(request, runner.model.config, events.append))
    while engine.has_work:
        engine.step()
    ids = [token_id for event in events if isinstance(event, Step) for token_id in event.new_final]
    return ids, sum(event.nfe for event in events if isinstance(event, Finished))


def measure(runner: ModelRunner, tokenizer: Tokenizer, all_gaps: Sequence[Gap], max_length: int) -> dict[str, Any]:
    lengths = {
        "chosen by confidence": candidate_lengths(max_length),
        f"always {max_length}": (max_length,),
        f"always {max_length // 4}": (max_length // 4,),
        "true length": None,
    }
    return {name: _row(runner, tokenizer, all_gaps, fixed) for name, fixed in lengths.items()}


def _row(
    runner: ModelRunner, tokenizer: Tokenizer, all_gaps: Sequence[Gap], fixed: tuple[int, ...] | None
) -> dict[str, float]:
    """The means over all gaps; without `fixed` lengths each gap gets its true one."""
    errors, octaves, similar, passes = [], [], [], []
    for gap in all_gaps:
        ids, nfe = fill(runner, gap, fixed or (len(gap.hidden),))
        errors.append(abs(len(ids) - len(gap.hidden)))
        octaves.append(abs(np.log2(max(len(ids), 1) / len(gap.hidden))))
        truth, text = tokenizer.decode(gap.hidden), tokenizer.decode(ids)
        similar.append(SequenceMatcher(None, truth, text, autojunk=False).ratio())
        passes.append(nfe)
    return {
        "mean_length_error": float(np.mean(errors)),
        "mean_octaves_off": float(np.mean(octaves)),
        "mean_similarity": float(np.mean(similar)),
        "mean_nfe": float(np.mean(passes)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODELS / "llada")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--count", type=int, default=60)
    options = parser.parse_args()
    tokenizer = Tokenizer.load(options.model)
    runner = ModelRunner(load_model(options.model, torch.device("cpu"), torch.float32))
    lines = (HERE / "data" / "heldout_prose.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[: options.count]]
    rows = measure(runner, tokenizer, gaps(tokenizer, texts, options.max_length), options.max_length)
    print(f"{'length':22}{'|error|':>10}{'octaves':>10}{'similarity':>12}{'nfe':>8}")
    for name, row in rows.items():
        print(
            f"{name:22}{row['mean_length_error']:10.2f}{row['mean_octaves_off']:10.2f}"
            f"{row['mean_similarity']:12.3f}{row['mean_nfe']:8.1f}"
        )
    (HERE / "results" / "span_length.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
