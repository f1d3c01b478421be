"""Writes the tables in docs/memory.md from the shapes of published checkpoints: `python docs/build_memory_table.py`.

Every number is the server's own estimate, by which it decides whether a checkpoint is loaded (`app/engine/room`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.engine.interface.config import Demand, EngineConfig  # noqa: E402 - the benchmarks are in the root
from app.engine.passes.footprint import Footprint  # noqa: E402
from app.engine.room.estimate import Estimate, MemoryNeed  # noqa: E402
from benchmarks.shapes import PUBLISHED  # noqa: E402

TARGET = ROOT / "docs" / "memory.md"
BEGINNING, END = "<!-- made by docs/build_memory_table.py -->\n", "<!-- end -->\n"

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 1024**3
GPUS, LAPTOPS = (8, 16, 24, 80), (16, 32)
"""Gigabytes of memory, as they are sold: of 1024^3 bytes."""
SYSTEM_BYTES = 4 * GIB
"""Bytes of a laptop that its system and its other programs have."""
AUTO = EngineConfig().memory_threshold

Form = dict[str, Any]
"""Fields of `EngineConfig`."""
ON_GPU: dict[str, Form] = {"bfloat16": {}, "int8": {"quantization": "int8"}, "nf4": {"quantization": "nf4"}}
ON_CPU: dict[str, Form] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantization": "int8", "dtype": "float32"},
    "int8, bfloat16": {"quantization": "int8", "dtype": "bfloat16"},
    "nf4": {"quantization": "nf4", "dtype": "float32"},
    "nf4, bfloat16": {"quantization": "nf4", "dtype": "bfloat16"},
}
"""The forms of the weights by name, the most exact first."""


def need_of(raw_config: dict[str, Any], device: torch.device, form: Form) -> MemoryNeed:
    """The need of one request of the server's defaults."""
    return Estimate("", raw_config, EngineConfig(**form), Demand()).need(device)


def sizes() -> Iterable[str]:
    """A line for each checkpoint: its weights in each form, its cache and a request."""
    yield "| checkpoint | float32 | bfloat16 | int8 | nf4 | cache, 1,000 tokens | logits of a request | states |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, raw_config in PUBLISHED.items():
        needs = {form: need_of(raw_config, CUDA, fields) for form, fields in ON_GPU.items()}
        forms = [need_of(raw_config, CPU, ON_CPU["float32"]), *needs.values()]
        weights = " | ".join(_gb(need.weights.all) for need in forms)
        one = needs["bfloat16"].one
        yield f"| {name} | {weights} | {_gb(_cached(raw_config))} | {_gb(one.logits)} | {_gb(one.states)} |"


def _cached(raw_config: dict[str, Any]) -> int:
    config = Estimate("", raw_config, EngineConfig(), Demand()).model_config
    return Footprint(config, torch.bfloat16, is_graphed=False).cached(1000)


def places() -> Iterable[str]:
    """A line for each checkpoint: the most exact form that fits each machine."""
    machines = [f"GPU, {size} GB" for size in GPUS] + [f"laptop, {size} GB" for size in LAPTOPS]
    yield f"| checkpoint | {' | '.join(machines)} |"
    yield "|---" * (len(machines) + 1) + "|"
    for name, raw_config in PUBLISHED.items():
        on_gpu = {form: need_of(raw_config, CUDA, fields) for form, fields in ON_GPU.items()}
        on_cpu = {form: need_of(raw_config, CPU, fields) for form, fields in ON_CPU.items()}
        cells = [*(_on_gpu(on_gpu, size) for size in GPUS), *(_on_laptop(on_cpu, size) for size in LAPTOPS)]
        yield f"| {name} | {' | '.join(cells)} |"


def _on_gpu(needs: dict[str, MemoryNeed], size: int) -> str:
    by_auto, by_name = (
        next((form for form, need in needs.items() if need.least <= share * size * GIB), "") for share in (AUTO, 1.0)
    )
    named = f"{by_name} if named" if by_name != by_auto else ""
    return ", or ".join(filter(None, (by_auto, named))) or "–"


def _on_laptop(needs: dict[str, MemoryNeed], size: int) -> str:
    free = size * GIB - SYSTEM_BYTES
    return next((form for form, need in needs.items() if need.least + need.weights.mapped <= free), "–")


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f}" if num_bytes >= 1e9 else f"{num_bytes / 1e9:.2f}"


def built() -> str:
    """The page with its tables made anew."""
    page = TARGET.read_text(encoding="utf-8")
    for number, table in enumerate((sizes(), places()), 1):
        before, after = _around(page, number)
        page = before + "\n" + "".join(f"{line}\n" for line in table) + "\n" + after
    return page


def _around(page: str, number: int) -> tuple[str, str]:
    """The parts of the page before and behind its n-th table, with the marks."""
    start = -1
    for _ in range(number):
        start = page.index(BEGINNING, start + 1)
    start += len(BEGINNING)
    return page[:start], page[page.index(END, start) :]


def main() -> None:
    TARGET.write_text(built(), encoding="utf-8")


if __name__ == "__main__":
    main()
