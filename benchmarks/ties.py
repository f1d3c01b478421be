"""Measures the effect of the order of equally confident masks: `python -m benchmarks.ties`, from the repository root.

Where top-p or top-k leaves one token, its confidence is 1 and its entropy 0, so masks tie exactly. The published
samplers leave the choice to `torch.topk`, whose order among equals depends on the length of the row and on the device;
this engine takes the lowest position. `dreamon` fills hidden lines of held-out functions under four rules for ties. The
program prints a table, with the difference from the lowest position line by line, and writes `results/ties.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from app.engine.decoding import selection
from app.services.diffusion.diffusion_service import DiffusionLLMService
from benchmarks import machine
from benchmarks.defaults import Variation, read_texts
from benchmarks.quality import compared, infillings, show, start_service
from training.infilling import HiddenLine, hidden_lines

HERE = Path(__file__).parent

Rule = Callable[[int], Sequence[float]]
"""A function from the number of candidates to their keys, in reading order; among equals the least key comes first."""


class Counted:
    """The number of steps that chose among candidates, and of those that chose between equals."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.num_steps = 0
        self.num_tied = 0

    def best(self, scores: Sequence[float], count: int) -> list[int]:
        """Replaces `selection.best`."""
        values = np.asarray(scores, dtype=np.float64)
        order = np.lexsort((np.asarray(self._rule(len(values)), np.float64), -values))
        self.num_steps += 1
        self.num_tied += bool(0 < count < len(values) and values[order[count - 1]] == values[order[count]])
        return [int(index) for index in order[:count]]

    def in_force(self) -> AbstractContextManager[object]:
        return patch.object(selection, "best", self.best)


def from_the_middle(count: int) -> Sequence[float]:
    return [abs(index - (count - 1) / 2) for index in range(count)]


def from_the_edges(count: int) -> Sequence[float]:
    return [min(index, count - 1 - index) for index in range(count)]


RULES: dict[str, Rule] = {
    "lowest position": range,
    "highest position": lambda count: range(count, 0, -1),
    "from the middle": from_the_middle,
    "from the edges": from_the_edges,
}
SETTINGS: dict[str, Variation] = {
    "greedy": {},
    "greedy, top-p 0.3": {"top_p": 0.3},
    "temperature 0.2, top-p 0.9": {"temperature": 0.2, "top_p": 0.9, "seed": 1},
}


async def measure(count: int) -> dict[str, list[dict[str, Any]]]:
    service = await start_service()
    texts = read_texts("dreamon")["heldout"]
    cases = hidden_lines(texts.heldout, texts.language, count)
    tables = {name: await _table(service, cases, name, setting) for name, setting in SETTINGS.items()}
    await service.close()
    return tables


async def _table(
    service: DiffusionLLMService, cases: Sequence[HiddenLine], name: str, setting: Variation
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    reference = None
    for rule_name, rule in RULES.items():
        counted = Counted(rule)
        with counted.in_force():
            figures = await infillings(service, cases, {"algorithm": "entropy", **setting})
        reference = reference or figures
        row = compared(figures, reference)
        show(name, {"ties:": rule_name}, row, is_first=not rows)
        rows.append({"rule": rule_name, "tied_steps": round(counted.num_tied / counted.num_steps, 4), **row})
    print(f"{rows[0]['tied_steps']:.1%} of the steps fell between equals, where the lowest position decided")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400, help="lines to fill")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "ties.json")
    options = parser.parse_args()
    tables = asyncio.run(measure(options.count))
    options.output.write_text(json.dumps({"machine": machine.describe(), **tables}, indent=1) + "\n")


if __name__ == "__main__":
    main()
