"""Measures loading a checkpoint of true 8B shape: `python -m benchmarks.load --folder DIR`, from the repository root.

The program writes LLaDA-8B's tensors (random bfloat16 numbers, 16 GB in shards of 4 GB) into the folder unless they are
there, loads them in a fresh process, touches every weight, runs one forward pass, and compares the process's peak
memory with the size of the files. `--layers` makes it smaller for a trial.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import peak_bytes
from benchmarks.shapes import LLADA_8B

RESULTS = Path(__file__).parent / "results" / "load.json"
SHARD_BYTES = 4 * 1024**3


def write_checkpoint(folder: Path, num_layers: int) -> None:
    """Writes the checkpoint's files in the published layout, shard by shard, so that little memory is needed."""
    import torch
    from safetensors.torch import save_file

    from app.engine.families.build import build_model

    config = {**LLADA_8B, "n_layers": num_layers}
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in build_model(config).named_parameters()}
    shards: list[dict[str, Any]] = [{}]
    size = 0
    for name, shape in shapes.items():
        if size + shape.numel() * 2 > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size += shape.numel() * 2
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file_name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({n: torch.randn(s, dtype=torch.bfloat16) * 0.02 for n, s in shard.items()}, folder / file_name)
        weight_map |= dict.fromkeys(shard, file_name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config))


def measure(folder: Path) -> dict[str, Any]:
    """Loads, touches every weight and runs one forward pass in this process."""
    import torch

    from app.engine.families.checkpoint import load_model

    before_bytes = peak_bytes()
    started = time.perf_counter()
    model = load_model(folder, torch.device("cpu"), torch.bfloat16)
    loaded = time.perf_counter()
    total = sum(float(weight.sum()) for weight in model.parameters())
    touched = time.perf_counter()
    with torch.inference_mode():
        logits = model.head(model.hidden(torch.tensor([1, 2]), torch.tensor([0, 1]), [2]))
    assert torch.isfinite(logits).all()
    assert total == total
    size_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    after_bytes = peak_bytes()
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "size_gb": size_bytes / 1e9,
        "map_s": loaded - started,
        "touch_s": touched - loaded,
        "peak_gb": after_bytes / 1e9,
        "peak_before_loading_gb": before_bytes / 1e9,
        "ratio": (after_bytes - before_bytes) / size_bytes,
        "ratio_with_interpreter": after_bytes / size_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.folder)))
        return
    if not (options.folder / "config.json").exists():
        write_checkpoint(options.folder, options.layers)
    command = [sys.executable, "-m", "benchmarks.load", "--folder", str(options.folder), "--measure"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    result |= {"commit": _commit(), "machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for name, value in result.items():
        print(f"{name:24} {value:.3f}" if isinstance(value, float) else f"{name:24} {value}")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
