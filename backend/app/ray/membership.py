"""One replica's tie to the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from app.ray.board import Changes, News, Report
from app.ray.board_caller import BoardCaller
from app.ray.errors import RAY_ERRORS
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.reports import DiffusionModelDetails
from app.services.diffusion.residency.background import BackgroundTasks

EXCHANGE_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Membership:
    """Tells the board how this replica is, adopts the settings that it hears of, and answers what all are asked.
    Belongs to one event loop.

    Args:
        board: where it reports.
        report: makes the report, given the changes that are adopted.
        adopt: takes over changed settings; may raise InvalidParameters.
        answers: what this replica may be asked besides `exchange`.
    """

    def __init__(
        self,
        board: BoardCaller,
        report: Callable[[Changes], Report],
        adopt: Callable[[dict[str, Any]], Awaitable[object]],
        answers: Mapping[str, Callable[[], Awaitable[Any]]],
    ) -> None:
        self._board = board
        self._report = report
        self._adopt = adopt
        self._answers = {"exchange": self.exchange, **answers}
        self._changes: Changes = {}
        self._one_at_a_time = asyncio.Lock()
        self._tasks = BackgroundTasks()
        self.models: dict[str, dict[str, DiffusionModelDetails]] = {}
        """Model id -> its replicas -> what they say, as of the last exchange."""

    def begin(self) -> None:
        """Begins to report and to answer in the background."""
        self._tasks.start(self._again_and_again(self._report_soon), name="report to the board")
        self._tasks.start(self._again_and_again(self._listen), name="hear the board")

    async def exchange(self) -> None:
        """Raises RayError where no board can be had."""
        async with self._one_at_a_time:
            news: News = await self._board.call("exchange", self._report(self._changes))
            self.models = news.models
            known, self._changes = self._changes, news.changes
            settings = {
                name: value for name, (number, value) in news.changes.items() if number > known.get(name, (0, None))[0]
            }
            if settings:
                await self._take_over(settings)

    async def _take_over(self, settings: dict[str, Any]) -> None:
        try:
            await self._adopt(settings)
        except InvalidParameters as error:  # such as a rules file that this node does not have
            logger.error("settings that another replica took do not fit here: %s", error)

    async def _again_and_again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except RAY_ERRORS:  # the caller has logged it
                await asyncio.sleep(EXCHANGE_EVERY_S)

    async def _report_soon(self) -> None:
        await asyncio.sleep(EXCHANGE_EVERY_S)
        await self.exchange()

    async def _listen(self) -> None:
        """Begins with all questions that are open. A board's successor never numbers from the beginning again."""
        member, known = self._report(self._changes).member, 0
        while True:
            for number, method in await self._board.call("questions", member, known):
                known = number
                self._tasks.start(self._answer(member, number, method), name=f"answer {method}")

    async def _answer(self, member: str, number: int, method: str) -> None:
        with suppress(*RAY_ERRORS):  # the question has died with the board
            await self._board.call("answer", member, number, await self._answers[method]())
