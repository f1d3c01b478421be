"""The board: settings changed at run time, which replicas are there, and what each has counted. It also carries one
replica's question to all others: a call by Serve would wait until a busy replica has a place free.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from app.ray.sums import ended, summed
from app.services.diffusion.reports import DiffusionModelDetails, DiffusionStatistics

Changes: TypeAlias = dict[str, tuple[int, Any]]
"""Name of a setting -> number of its last change, and its value."""

INGRESS = ""
"""The group of all ingresses; the other groups are the ids of models."""
STALE_S = 5.0
"""A replica that has not reported for so long is gone."""
LOOK_EVERY_S = 1.0
"""The interval at which a question drops replicas that are gone."""
SETTLING_S = STALE_S
"""The seconds after which every live replica has reported to a board that replaced another one."""
FORGET_S = 3600.0
"""The seconds after which nothing more can come from a lost replica, and its counters become part of one sum."""


@dataclass(frozen=True, slots=True)
class Report:
    """A replica's report of itself."""

    member: str
    changes: Changes = field(default_factory=dict)
    """The changes that it knows: a board that was started again learns them from the replicas."""
    statistics: DiffusionStatistics | None = None
    """An ingress reports what it has counted."""
    model: DiffusionModelDetails | None = None
    """A model's replica reports its model."""

    @property
    def group(self) -> str:
        return self.model.model_id if self.model is not None else INGRESS


@dataclass(frozen=True, slots=True)
class News:
    """The board's answer to a report."""

    changes: Changes
    models: dict[str, dict[str, DiffusionModelDetails]]
    """Model id -> its replicas that are there -> what they say."""


@dataclass(slots=True)
class Question:
    """Something that is asked of several replicas at once."""

    number: int
    method: str
    missing: set[str]
    """The replicas that have not answered."""
    answers: list[Any] = field(default_factory=list)


class Board:
    """An actor, of which a cluster has one. It decides nothing, and no request passes through it.

    Args:
        is_successor: it takes the place of one that has died, and learns from the replicas what that one knew.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, is_successor: bool = False) -> None:
        self._clock = clock
        self._knows_all_from_s = clock() + (SETTLING_S if is_successor else 0.0)
        self._changes: Changes = {}
        self._reports: dict[str, tuple[float, Report]] = {}
        self._forgotten = summed([])
        self._questions: list[Question] = []
        self._last_number = 0
        self._news = asyncio.Condition()

    def exchange(self, report: Report) -> News:
        for name, change in report.changes.items():
            self._changes[name] = max(change, self._changes.get(name, change), key=lambda known: known[0])
        self._reports[report.member] = (self._clock(), report)
        self._forget()
        return News(dict(self._changes), self._models())

    def change(self, settings: dict[str, Any]) -> None:
        """Settings that every replica adopts at its next exchange, those that are still to come too."""
        number = _next_number(max((number for number, _ in self._changes.values()), default=0))
        self._changes |= {name: (number, value) for name, value in settings.items()}

    def statistics(self) -> DiffusionStatistics:
        """The sum over all that there ever were. What was in flight at an ingress that is gone has failed."""
        counted = [
            report.statistics if self._is_there(reported_s) else ended(report.statistics)
            for reported_s, report in self._reports.values()
            if report.statistics is not None
        ]
        return summed([self._forgotten, *counted])

    # -- questions ---------------------------------------------------------------------------------------------------

    async def ask(self, group: str, method: str, timeout_s: float) -> list[Any]:
        """Gathers the answers of a group's replicas; those that die or take too long give none. A board that has just
        replaced another one waits first until it knows them all."""
        while self._clock() < self._knows_all_from_s:
            await asyncio.sleep(LOOK_EVERY_S / 10)
        there = {
            member: report.group for member, (reported_s, report) in self._reports.items() if self._is_there(reported_s)
        }
        self._last_number = _next_number(self._last_number)
        asked = {member for member, its_group in there.items() if its_group == group}
        question = Question(self._last_number, method, asked)
        self._questions.append(question)
        await self._announce()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._all_answers(question)
        finally:
            self._questions.remove(question)
        return question.answers

    async def questions(self, member: str, known: int) -> list[tuple[int, str]]:
        """Number and method of what is asked of this replica since the one with the number `known`; waits for it."""

        def new() -> list[tuple[int, str]]:
            return [(one.number, one.method) for one in self._questions if one.number > known and member in one.missing]

        async with self._news:
            return await self._news.wait_for(new)

    async def answer(self, member: str, number: int, answer: Any) -> None:
        for question in self._questions:
            if question.number == number and member in question.missing:
                question.missing.remove(member)
                question.answers.append(answer)
        await self._announce()

    async def _all_answers(self, question: Question) -> None:
        while question.missing:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S), self._news:
                    await self._news.wait_for(lambda: not question.missing)
            gone = {member for member in question.missing if not self._is_there(self._reports[member][0])}
            question.missing.difference_update(gone)

    async def _announce(self) -> None:
        async with self._news:
            self._news.notify_all()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _models(self) -> dict[str, dict[str, DiffusionModelDetails]]:
        models: dict[str, dict[str, DiffusionModelDetails]] = {}
        for reported_s, report in self._reports.values():
            if report.model is not None and self._is_there(reported_s):
                models.setdefault(report.model.model_id, {})[report.member] = report.model
        return models

    def _forget(self) -> None:
        outdated = [
            member for member, (reported_s, _) in self._reports.items() if self._clock() - reported_s > FORGET_S
        ]
        for member in outdated:
            _, report = self._reports.pop(member)
            if report.statistics is not None:
                self._forgotten = summed([self._forgotten, ended(report.statistics)])

    def _is_there(self, reported_s: float) -> bool:
        return self._clock() - reported_s <= STALE_S


def _next_number(last: int) -> int:
    """Greater than all before it, also than those of the board whose place this one has taken."""
    return max(last + 1, time.time_ns())
