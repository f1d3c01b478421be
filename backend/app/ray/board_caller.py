"""Calls of the board that outlast its death: Ray starts another one within seconds."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ray.exceptions import RayActorError

from app.ray.errors import RAY_ERRORS, one_line

PATIENCE_S = 15.0
"""The time that a call waits for the successor of a board that has died."""
AGAIN_EVERY_S = 0.2

logger = logging.getLogger(__name__)


class BoardCaller:
    """Calls the board for one replica, and logs once that it cannot be had and once that it can again.

    Args:
        handle: of the actor.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._is_missing = False

    async def call(self, method: str, *arguments: Any) -> Any:
        """The answer. Where the board dies meanwhile, its successor is asked the same again.

        Raises:
            RayError: there is no board, and has been none for `PATIENCE_S`.
        """
        clock = asyncio.get_running_loop().time
        given_up_s = clock() + PATIENCE_S
        while True:
            try:
                answer = await getattr(self._handle, method).remote(*arguments)
            except RAY_ERRORS as error:
                self._note_absence(error)
                if not isinstance(error, RayActorError) or clock() > given_up_s:
                    raise
                await asyncio.sleep(AGAIN_EVERY_S)
            else:
                self._note_presence()
                return answer

    def _note_absence(self, error: Exception) -> None:
        if not self._is_missing:
            logger.warning("the board cannot be had; Ray starts another one: %s", one_line(error))
        self._is_missing = True

    def _note_presence(self) -> None:
        if self._is_missing:
            logger.info("the board is there again")
        self._is_missing = False
