"""Serves a whole model of published shape on a CPU: `python -m benchmarks.whole_width --model llada-8b`, from the
repository root.

The checkpoint is made on the spot, of random weights in bfloat16 (16 GB for an 8B), beside the tokenizer of a small
one, and is deleted at the end. A server loads it and answers requests over HTTP, one at a time. A model of random
weights is never sure, so a step commits one token by confidence; the rows with several commits a step say what `fast`
gives where the model is sure of as many. The program prints seconds to load, memory as the kernel counts it, and tokens
a second, and writes `results/whole_width.json`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks import machine
from benchmarks.few_layers import depth_of, write_depths
from benchmarks.serving import server
from benchmarks.true_width import MODELS

HERE = Path(__file__).parent
SMALL = HERE.parent / "backend" / "app" / "assets" / "models"
TOKENIZERS = {"llada": SMALL / "llada", "Dream": SMALL / "dreamon"}
"""The checkpoint whose tokenizer is taken, by `model_type`; most rows of the head have no token then."""
SERVED = {name: shape for name, shape in MODELS.items() if shape["model_type"] in TOKENIZERS}
PROMPT = "Once upon a time there was a little fox who lived at the edge of the forest. Every morning " * 4
REQUESTS = (
    # decoding, commits a step
    ("fast", 1),
    ("fast", 4),
    ("balanced", 1),
    ("exact", 1),
)
TIMEOUT_S = 3600


def write_served(folder: Path, published: dict[str, Any]) -> Path:
    """Writes a checkpoint that a server loads; gives its folder."""
    source = TOKENIZERS[published["model_type"]]
    small = json.loads((source / "config.json").read_text())
    roles = {key: value for key, value in small.items() if key.endswith("_token_id")}
    depth = depth_of(published)
    written = write_depths(folder, {**published, **roles}, [depth])[depth]
    for path in source.glob("*token*.json"):
        shutil.copyfile(path, written / path.name)
    return written


@contextmanager
def served(checkpoint: Path, quantization: str, dtype: str) -> Iterator[tuple[str, float, psutil.Process]]:
    """Runs a server of that checkpoint alone; gives its URL, the seconds until it was ready, and its process."""
    settings = {"EXTRA_MODELS": f"whole={checkpoint}", "DEFAULT_MODEL": "whole", "PRELOAD": "default"}
    settings |= {"QUANTIZATION": quantization, "DTYPE": dtype, "MODEL_FALLBACK": "false"}
    before, started_s = set(psutil.Process().children()), time.monotonic()
    with server(1, start_timeout_s=TIMEOUT_S, **settings) as url:
        ready_s = time.monotonic() - started_s
        (process,) = set(psutil.Process().children()) - before
        yield url, ready_s, process


def memory(process: psutil.Process) -> dict[str, float]:
    """Gigabytes of the process: now and at their peak, and what of them is no page of a file."""
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    sizes = {
        name: int(value.split()[0]) * 1024
        for name, _, value in (line.partition(":") for line in lines)
        if "kB" in value
    }
    names = {"VmRSS": "resident_gb", "VmHWM": "peak_gb", "RssAnon": "not_of_files_gb"}
    return {name: round(sizes[key] / 1e9, 2) for key, name in names.items()}


def answer(client: httpx.Client, decoding: str, commits: int, num_tokens: int) -> dict[str, Any]:
    """The figures of one request."""
    body = {"text": PROMPT, "max_length": num_tokens, "steps": num_tokens // commits, "decoding": decoding, "seed": 1}
    started_s = time.monotonic()
    metadata = client.post("/api/diffusion/generate", json=body).raise_for_status().json()["metadata"]
    seconds = time.monotonic() - started_s
    return {
        "decoding": decoding,
        "commits": commits,
        "tokens": metadata["tokens_generated"],
        "seconds": round(seconds, 2),
        "tokens_per_s": round(metadata["tokens_generated"] / seconds, 3),
    }


def show(row: dict[str, Any]) -> None:
    print("".join(f"{name} {value}   " for name, value in row.items()), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SERVED, default="llada-8b")
    parser.add_argument("--quantization", default="int8")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tokens", type=int, default=32, help="new tokens of a request")
    parser.add_argument("--folder", type=Path, default=None, help="where the checkpoint is made")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "whole_width.json")
    options = parser.parse_args(arguments)
    report = {"machine": machine.describe(), "model": options.model, "quantization": options.quantization}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix=f"{options.model}-") as folder:
        checkpoint = write_served(Path(folder), SERVED[options.model])
        report["file_gb"] = round(sum(path.stat().st_size for path in checkpoint.iterdir()) / 1e9, 2)
        with served(checkpoint, options.quantization, options.dtype) as (url, ready_s, process):
            report |= {"ready_s": round(ready_s, 1), "loaded": memory(process), "rows": []}
            show({"ready, s": report["ready_s"], "file, GB": report["file_gb"], **report["loaded"]})
            with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
                for decoding, commits in REQUESTS:
                    report["rows"].append(answer(client, decoding, commits, options.tokens))
                    show(report["rows"][-1])
            report["served"] = memory(process)
            show(report["served"])
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
