"""The soak in a short form. Half a minute shows what is lost, miscounted or stuck; a slow leak needs `make soak`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.soak.course import Course
from tests.soak.report import Plan
from tests.soak.server import running

FAULTS = "every=53"

PLAN = Plan(duration_s=20, num_clients=10, num_rounds=2, row_period_s=2.0, max_growth=0.25, max_stall_s=5.0)
"""Memory that is only asked for once may still be asked for after a warm-up of seconds, so the bound is wide."""


def test_a_short_soak(tmp_path: Path) -> None:
    lines: list[str] = []
    with running(tmp_path, FAULTS) as server:
        report = asyncio.run(Course(server, PLAN, lines.append).run())
    assert report.reasons == [], "\n".join(lines)
    assert len(report.rests) == PLAN.num_rounds + 1
    assert len(report.rows) > 5
    assert json.loads(json.dumps(report.as_json()))["passed"] is True
