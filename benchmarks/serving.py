"""Measures the waiting times of the server's clients: `python -m benchmarks.serving`, from the repository root.

The program starts a server with the embedded checkpoints and sends it streaming requests that arrive at random at the
rates of `--rates`, whether or not earlier ones are answered (an open loop, so that waiting shows). For each rate and
preset of `decoding` it measures time to the first text, latency, tokens per second, and refusals. It prints a table,
and writes `results/serving.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks import machine

HERE = Path(__file__).parent
BACKEND = HERE.parent / "backend"
START_TIMEOUT_S = 180
PRESETS = ("exact", "balanced", "fast")
PROMPTS = (
    "The morning after the ball, as they walked through the garden, she asked him",
    "It was a truth which nobody in the house had ever doubted, that a man of his fortune",
    "When the letter came, she read it twice, and then gave it to her sister, who",
    "He had been in the country for three weeks, and had not yet seen",
)


@dataclass(frozen=True, slots=True)
class Visit:
    """The answer to one client, with times in seconds since its arrival."""

    status: int
    first_text_s: float | None
    latency_s: float
    num_tokens: int


@contextmanager
def server(
    max_concurrent: int, program: str = "main.py", start_timeout_s: float = START_TIMEOUT_S, **more: object
) -> Iterator[str]:
    """Runs a server process, and gives its URL."""
    port = free_port()
    settings = {"PORT": port, "MAX_CONCURRENT_REQUESTS": max_concurrent, "LOG_LEVEL": "warning", **more}
    variables = {**os.environ, **{f"DIFFUSION_{name}": str(value) for name, value in settings.items()}}
    process = subprocess.Popen([sys.executable, str(BACKEND / program)], cwd=BACKEND, env=variables)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(f"{url}/health/ready", start_timeout_s)
        yield url
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(url: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Waits until the URL answers with 200.

    Raises:
        TimeoutError: it does not in time.
    """
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"the server was not ready within {timeout_s} s")


async def visit(client: httpx.AsyncClient, body: dict[str, Any]) -> Visit:
    started_s, first_text_s, num_tokens = time.monotonic(), None, 0
    async with client.stream("POST", "/api/diffusion/generate/stream", json=body) as response:
        async for line in response.aiter_lines():
            event = json.loads(line) if line and response.status_code == 200 else {}
            if event.get("type") == "token" and first_text_s is None:
                first_text_s = time.monotonic() - started_s
            if event.get("type") == "complete":
                num_tokens = event["metadata"]["tokens_generated"]
    return Visit(response.status_code, first_text_s, time.monotonic() - started_s, num_tokens)


async def load(url: str, *, rate: float, duration_s: float, preset: str, num_tokens: int) -> tuple[list[Visit], float]:
    """The visits of an open loop, and the seconds until the last one ended."""
    chance = random.Random(0)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        started_s, visits, number = time.monotonic(), [], 0
        while time.monotonic() - started_s < duration_s:
            body = {
                "text": PROMPTS[number % len(PROMPTS)],
                "model_id": "llada",
                "max_length": num_tokens,
                "decoding": preset,
                "seed": number,
            }
            visits.append(asyncio.create_task(visit(client, body)))
            number += 1
            await asyncio.sleep(chance.expovariate(rate))
        return list(await asyncio.gather(*visits)), time.monotonic() - started_s


def figures(visits: Sequence[Visit], whole_s: float) -> dict[str, float]:
    answered = [visit for visit in visits if visit.status == 200]
    latencies = np.array([visit.latency_s for visit in answered] or [float("nan")])
    firsts = np.array([visit.first_text_s for visit in answered if visit.first_text_s is not None] or [float("nan")])
    return {
        "requests": len(visits),
        "refused": len(visits) - len(answered),
        "tokens_per_s": round(sum(visit.num_tokens for visit in answered) / whole_s, 1),
        "first_text_p50_s": round(float(np.percentile(firsts, 50)), 3),
        "first_text_p95_s": round(float(np.percentile(firsts, 95)), 3),
        **{f"latency_p{share}_s": round(float(np.percentile(latencies, share)), 3) for share in (50, 95, 99)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.5, 1, 2, 4], help="arrivals a second")
    parser.add_argument("--seconds", type=float, default=20, help="of arrivals, for each rate and preset")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--concurrent", type=int, default=8, help="requests that are denoised at the same time")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "serving.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with server(options.concurrent) as url:
        for preset in PRESETS:
            asyncio.run(load(url, rate=1, duration_s=1, preset=preset, num_tokens=options.tokens))  # warms up
            for rate in options.rates:
                loaded = load(url, rate=rate, duration_s=options.seconds, preset=preset, num_tokens=options.tokens)
                rows.append({"decoding": preset, "rate": rate, **figures(*asyncio.run(loaded))})
                if len(rows) == 1:
                    print("".join(f"{name:>18}" for name in rows[0]))
                print("".join(f"{value:>18}" for value in rows[-1].values()), flush=True)
    report = {
        "machine": machine.describe(),
        "new_tokens": options.tokens,
        "concurrent": options.concurrent,
        "rows": rows,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
