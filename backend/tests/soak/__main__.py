"""`python -m tests.soak`: exit code 0 if the server came through, 1 and the reasons if not."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.soak.course import Course
from tests.soak.report import Plan
from tests.soak.server import running

FAULTS = "every=211"
"""Each 211th forward pass runs out of memory: several a minute."""


def main() -> int:
    options = _options()
    plan = Plan(duration_s=60 * options.minutes, num_clients=options.clients, seed=options.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, running(Path(folder), options.faults) as server:
        report = asyncio.run(Course(server, plan, _tell).run())
    if options.out is not None:
        options.out.write_text(json.dumps(report.as_json(), indent=1), encoding="utf-8")
    _tell(report.verdict())
    return 1 if report.reasons else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Soaks a server in mixed traffic.")
    parser.add_argument("--minutes", type=float, default=10.0, help="duration of the traffic")
    parser.add_argument("--clients", type=int, default=16, help="clients at the same time")
    parser.add_argument("--seed", type=int, default=0, help="of the clients' choices")
    parser.add_argument("--faults", default=FAULTS, help="when the device runs out of memory; empty: never")
    parser.add_argument("--out", type=Path, default=None, help="file for the numbers, as JSON")
    return parser.parse_args()


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
