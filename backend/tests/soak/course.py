"""The course of a soak: warm-up, then traffic and rest in turns, and a verdict with its reasons."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from app.services.diffusion.residency.memory_at_rest import REST_S
from app.services.diffusion.residency.supervisor import LOOK_EVERY_S
from tests.soak.client import Json, call, text
from tests.soak.ledger import Ledger, Seen, Visit
from tests.soak.report import TABLE_HEAD, Plan, Report, Rest, Row
from tests.soak.server import Process
from tests.soak.visitors import API, WEATHER, WEIGHTS, Place, Visitor

SETTLING_S = 30.0
"""Within which an idle server has nothing in flight any more."""
PROBE_PERIOD_S = 0.25
TICK_S = 0.01
BACK_OFF_S = 1.0
SAMPLE_PERIOD_S = 0.5


class Course:
    """One soak of one server."""

    def __init__(self, server: Process, plan: Plan, tell: Callable[[str], None]) -> None:
        self._server = server
        self._plan = plan
        self._tell = tell
        self._ledger = Ledger()
        self._report = Report(plan)
        self._dice = random.Random(plan.seed)
        self._changing = asyncio.Lock()
        self._started_s = time.monotonic()
        self._probe_s = 0.0
        self._own_lateness_s = 0.0
        self._num_durations_told = 0

    async def run(self) -> Report:
        await self._until_ready()
        self._started_s = time.monotonic()
        self._tell(TABLE_HEAD)
        async with (
            _in_background(self._watch_ourselves()),
            _in_background(self._probe()),
            _in_background(self._keep_table()),
        ):
            await self._rounds()
        self._judge()
        return self._report

    # -- what happens ------------------------------------------------------------------------------------------------

    async def _until_ready(self) -> None:
        async with asyncio.timeout(120):
            while (await self._health())[0] != 200:
                await asyncio.sleep(0.1)

    async def _rounds(self) -> None:
        """The warm-up takes twice as long as a round: what is loaded, cached or set aside once is no leak."""
        round_s = self._plan.duration_s / (self._plan.num_rounds + 2)
        await self._traffic(2 * round_s)
        await self._rest("after the warm-up")
        for number in range(1, self._plan.num_rounds + 1):
            await self._traffic(round_s)
            await self._rest(f"after round {number}")

    async def _traffic(self, duration_s: float) -> None:
        until_s = time.monotonic() + duration_s
        async with asyncio.TaskGroup() as clients:
            for _ in range(self._plan.num_clients):
                clients.create_task(self._client(random.Random(self._dice.random()), until_s))

    async def _client(self, dice: random.Random, until_s: float) -> None:
        place = Place(self._server.port, dice, self._changing)
        kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
        while time.monotonic() < until_s:
            [visitor] = dice.choices(kinds, weights)
            visit = await _visit(visitor, place)
            self._ledger.note(visit)
            if visit.code in WEATHER:  # a polite client does not come back at once
                await asyncio.sleep(dice.uniform(0, 2 * BACK_OFF_S))

    async def _rest(self, name: str) -> None:
        """No traffic: everything must have ended, every count agree, and memory come back."""
        await asyncio.sleep(self._plan.retiring_s)
        idle = await self._until_idle()
        self._report.blame(name, self._ledger.differences(idle, await self._metrics(), self._server.ends()))
        rest = await self._measured()
        self._report.rests.append(rest)
        self._tell(f"         {name}: idle, the counts were compared; {rest}")

    async def _until_idle(self) -> Json:
        deadline_s = time.monotonic() + SETTLING_S
        while True:
            _, counted = await call(self._server.port, "GET", f"{API}/admin/stats")
            if counted["requests_in_flight"] == 0 or time.monotonic() > deadline_s:
                return counted
            await asyncio.sleep(0.1)

    async def _measured(self) -> Rest:
        """The median of some samples, once models that were retired have gone. Nobody cleans up: what the traffic has
        left behind must go by itself."""
        await asyncio.sleep(REST_S + LOOK_EVERY_S + self._plan.retiring_s)
        samples = []
        for _ in range(self._plan.num_samples):
            samples.append(self._server.memory_bytes())
            await asyncio.sleep(SAMPLE_PERIOD_S)
        resident_mb, anonymous_mb = (round(statistics.median(kind) / 1e6, 1) for kind in zip(*samples, strict=True))
        return Rest(
            resident_mb=resident_mb,
            anonymous_mb=anonymous_mb,
            num_files=self._server.num_files(),
            num_threads=self._server.num_threads(),
        )

    # -- what is watched ---------------------------------------------------------------------------------------------

    async def _health(self) -> tuple[int, Json]:
        with contextlib.suppress(OSError):  # it does not listen yet
            return await call(self._server.port, "GET", f"{API}/admin/health")
        return 0, {}

    async def _probe(self) -> None:
        """Measures how long the server's event loop answers nobody. What our own loop is late does not count."""
        while True:
            asked_s, late_s = time.monotonic(), self._own_lateness_s
            await self._health()
            self._probe_s = max(0.0, time.monotonic() - asked_s - (self._own_lateness_s - late_s))
            self._report.longest_stall_s = max(self._report.longest_stall_s, self._probe_s)
            await asyncio.sleep(PROBE_PERIOD_S)

    async def _watch_ourselves(self) -> None:
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(TICK_S)
            self._own_lateness_s += time.monotonic() - before_s - TICK_S

    async def _keep_table(self) -> None:
        while True:
            await asyncio.sleep(self._plan.row_period_s)
            row = await self._row()
            self._report.rows.append(row)
            self._tell(str(row))

    async def _row(self) -> Row:
        _, counted = await call(self._server.port, "GET", f"{API}/admin/stats")
        seen = self._ledger.by_seen
        recent_ms = [1e3 * duration_s for duration_s in self._ledger.durations_s[self._num_durations_told :]]
        self._num_durations_told = len(self._ledger.durations_s)
        p50_ms, p95_ms = _percentiles(recent_ms)
        return Row(
            elapsed_s=round(time.monotonic() - self._started_s, 1),
            num_visits=self._ledger.num_visits,
            num_successful=seen[Seen.SUCCESSFUL],
            num_failed=seen[Seen.FAILED],
            num_left=seen[Seen.LEFT] + seen[Seen.GONE] + seen[Seen.CANCELLED],
            num_uncounted=seen[Seen.UNCOUNTED],
            num_in_flight=counted["requests_in_flight"],
            p50_ms=p50_ms,
            p95_ms=p95_ms,
            probe_ms=round(1e3 * self._probe_s, 1),
            resident_mb=round(self._server.memory_bytes()[0] / 1e6, 1),
        )

    async def _metrics(self) -> dict[str, float]:
        """Sums over labels, by name."""
        sums: defaultdict[str, float] = defaultdict(float)
        for line in (await text(self._server.port, "/metrics")).splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                sums[name.partition("{")[0]] += float(value)
        return sums

    # -- the verdict -------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        self._report.visits = {
            "by outcome": {str(seen): number for seen, number in self._ledger.by_seen.items()},
            "by kind": dict(self._ledger.by_kind),
            "by code": dict(self._ledger.by_code),
        }
        self._report.blame("clients", self._ledger.complaints)
        self._report.blame("log", self._server.unexpected_errors())
        self._report.blame("server", self._report.excesses())
        if not self._ledger.by_seen[Seen.SUCCESSFUL]:
            self._report.blame("clients", ["no request was successful"])


async def _visit(visitor: Visitor, place: Place) -> Visit:
    """A visit that the server cut short where it should not have is one more complaint."""
    try:
        return await visitor(place)
    except (OSError, EOFError, TimeoutError, ValueError, KeyError, IndexError) as error:
        return Visit(visitor.__name__, Seen.GONE, complaint=f"was cut short: {type(error).__name__}: {error}")


@contextlib.asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


def _percentiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return (round(values[0], 1),) * 2 if values else (0.0, 0.0)
    cuts = statistics.quantiles(values, n=20)
    return round(cuts[9], 1), round(cuts[18], 1)
