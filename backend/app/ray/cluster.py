"""Whom an ingress talks to: the board, and the deployment of each model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.ray.board_caller import BoardCaller
from app.ray.errors import RAY_ERRORS, one_line

TELLING_TIMEOUT_S = 5.0
"""The seconds for questions that a replica answers at once; one that does not gets changes at its next exchange."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Whom an ingress talks to."""

    member: str
    """Its own name."""
    board: BoardCaller
    models: Mapping[str, Any]
    """Model id -> handle of its deployment."""
    max_replicas: int
    """Replicas of each model at most."""

    async def ask(self, group: str, method: str, timeout_s: float = TELLING_TIMEOUT_S) -> list[Any]:
        """Gathers the answers of a model's replicas, or of all ingresses; none where the board cannot be had."""
        try:
            answers: list[Any] = await self.board.call("ask", group, method, timeout_s)
        except RAY_ERRORS as error:
            logger.warning("the board cannot be had, so nobody else can be asked: %s", one_line(error))
            return []
        return answers
