"""Measures the cost of Ray: `python -m benchmarks.scaleout`, from the repository root; needs the extra `ray`.

The same requests go to one process, and to the application on Ray with one and with two replicas of each model, on this
machine: first from `--clients` that each ask again as soon as they are answered (a closed loop), then from one client
alone, which shows the time that Ray adds to a request and to an event. Every replica has one thread, the one process
as many as there are cores; two replicas on two cores have no more computing power, so nothing here can show a gain. The
program prints a table, and writes `results/scaleout.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks import machine
from benchmarks.serving import HERE, PROMPTS, Visit, server, visit

ON_RAY = {"program": "serve_ray.py", "RAY_NUM_CPUS": 0.1}
SETUPS: dict[str, dict[str, Any]] = {
    "one process": {},
    "Ray, 1 replica": {**ON_RAY, "RAY_MAX_REPLICAS": 1},
    "Ray, 2 replicas": {**ON_RAY, "RAY_MIN_REPLICAS": 2, "RAY_MAX_REPLICAS": 2},
}


def body(number: int, num_tokens: int) -> dict[str, Any]:
    prompt = PROMPTS[number % len(PROMPTS)]
    return {"text": prompt, "model_id": "llada", "max_length": num_tokens, "temperature": 0.0, "seed": number}


async def closed_loop(
    client: httpx.AsyncClient, *, num_clients: int, duration_s: float, num_tokens: int
) -> list[Visit]:
    visits: list[Visit] = []
    deadline_s = time.monotonic() + duration_s

    async def keep_asking(number: int) -> None:
        while time.monotonic() < deadline_s:
            visits.append(await visit(client, body(number, num_tokens)))
            number += num_clients

    await asyncio.gather(*map(keep_asking, range(num_clients)))
    return visits


async def median_ms(call: Callable[[], Awaitable[object]], repeats: int) -> float:
    durations_s = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        await call()
        durations_s.append(time.perf_counter() - started_s)
    return round(statistics.median(durations_s) * 1e3, 2)


async def measure(url: str, options: argparse.Namespace) -> dict[str, float]:
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        await closed_loop(client, num_clients=options.clients, duration_s=2, num_tokens=options.tokens)  # warms up
        started_s = time.monotonic()
        visits = await closed_loop(
            client, num_clients=options.clients, duration_s=options.seconds, num_tokens=options.tokens
        )
        whole_s = time.monotonic() - started_s
        latencies = np.array([one.latency_s for one in visits])
        firsts = np.array([one.first_text_s for one in visits])
        return {
            "requests": len(visits),
            "failed": sum(one.status != 200 or one.num_tokens == 0 for one in visits),
            "requests_per_s": round(len(visits) / whole_s, 2),
            "latency_p50_s": round(float(np.percentile(latencies, 50)), 3),
            "latency_p95_s": round(float(np.percentile(latencies, 95)), 3),
            "first_text_p50_s": round(float(np.percentile(firsts, 50)), 3),
            "call_ms": await median_ms(lambda: client.get("/api/diffusion/models"), options.repeats),
            "one_token_ms": await median_ms(lambda: visit(client, body(0, 1)), options.repeats),
            "alone_ms": await median_ms(lambda: visit(client, body(0, options.tokens)), options.repeats // 10),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20, help="of the closed loop")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer; each is an event of its stream")
    parser.add_argument("--repeats", type=int, default=100, help="of each call of the client that is alone")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "scaleout.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, settings in SETUPS.items():
        os.environ["OMP_NUM_THREADS"] = "1" if settings else str(os.cpu_count())
        with server(options.clients, **settings) as url:
            rows.append({"setup": name, **asyncio.run(measure(url, options))})
        if len(rows) == 1:
            print("".join(f"{title:>17}" for title in rows[0]))
        print("".join(f"{value:>17}" for value in rows[-1].values()), flush=True)
    report = {
        "machine": machine.describe(),
        "clients": options.clients,
        "new_tokens": options.tokens,
        "rows": rows,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
