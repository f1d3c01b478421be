"""Measures a start of the server with the embedded checkpoints: `python -m benchmarks.start`, from the repository root.

A client asks for 32 tokens again and again from the moment the process is there, until it is answered. The program
prints the medians of `--rounds` starts, and writes `results/start.json`: seconds until the port is open and until that
answer is there, processor seconds until then, and memory some seconds later, when the server is at rest with both
models loaded: what is resident, and how much of that is no page of a file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from benchmarks import machine
from benchmarks.serving import BACKEND, HERE, PROMPTS, free_port

TIMEOUT_S = 180
LOOK_S = 0.01
REST_S = 4.0
"""Seconds until memory that the load left behind has gone back to the system."""
ASKED = {"text": PROMPTS[0], "model_id": "llada", "max_length": 32, "seed": 1}


def start_once() -> dict[str, float]:
    """The figures of one start."""
    port = free_port()
    variables = {**os.environ, "DIFFUSION_PORT": str(port), "DIFFUSION_LOG_LEVEL": "warning"}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # from the second start on nothing is compiled, as in `make serve`
    started_s = time.monotonic()
    process = psutil.Popen([sys.executable, str(BACKEND / "main.py")], cwd=BACKEND, env=variables)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as client:
            open_s = _seconds_until_answered(client, started_s, "GET", "/health/live")
            answered_s = _seconds_until_answered(client, started_s, "POST", "/api/diffusion/generate", ASKED)
            used = process.cpu_times()
            while client.get("/health/ready").status_code != httpx.codes.OK:
                time.sleep(LOOK_S)
        time.sleep(REST_S)
        memory = process.memory_info()
    finally:
        process.terminate()
        process.wait()
    return {
        "open_s": round(open_s, 2),
        "answered_s": round(answered_s, 2),
        "cpu_s": round(used.user + used.system, 2),
        "resident_mb": round(memory.rss / 1e6),
        "anonymous_mb": round((memory.rss - memory.shared) / 1e6),
    }


def _seconds_until_answered(
    client: httpx.Client, started_s: float, method: str, path: str, body: dict[str, object] | None = None
) -> float:
    """Asks again and again, until the answer is there.

    Raises:
        TimeoutError: it never is.
    """
    while time.monotonic() - started_s < TIMEOUT_S:
        try:
            if client.request(method, path, json=body).status_code == httpx.codes.OK:
                return time.monotonic() - started_s
        except httpx.TransportError:
            pass
        time.sleep(LOOK_S)
    raise TimeoutError(f"{path} was not answered within {TIMEOUT_S} s")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "start.json")
    options = parser.parse_args(arguments)
    rounds = []
    for _ in range(options.rounds):
        rounds.append(start_once())
        print("   ".join(f"{name} {value}" for name, value in rounds[-1].items()), flush=True)
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    print("medians   " + "   ".join(f"{name} {value}" for name, value in medians.items()))
    report = {"machine": machine.describe(), "new_tokens": ASKED["max_length"], "medians": medians, "rounds": rounds}
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
