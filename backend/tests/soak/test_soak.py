"""The soak in a short form. Two minutes show what is lost, miscounted or stuck; a slow leak needs `make soak`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.soak.course import Course
from tests.soak.report import Plan
from tests.soak.server import running

FAULTS = "every=53"

PLAN = Plan(
    duration_s=120,
    num_clients=10,
    num_rounds=2,
    row_period_s=1.0,
    retiring_s=1.0,
    num_samples=3,
    max_growth=0.25,
    max_stall_s=30.0,
)
"""The bounds are wide: after a warm-up of seconds a server may still ask for memory that it asks for once, and other
programs of the machine may hold us up for seconds."""


@pytest.mark.thorough
def test_a_short_soak(tmp_path: Path) -> None:
    lines: list[str] = []
    with running(tmp_path, FAULTS) as server:
        report = asyncio.run(Course(server, PLAN, lines.append).run())
    assert report.reasons == [], "\n".join(lines)
    assert len(report.rests) == PLAN.num_rounds + 1
    assert len(report.rows) > 5
    assert json.loads(json.dumps(report.as_json()))["passed"] is True
