from __future__ import annotations

import logging
from typing import Any

import pytest
from ray import exceptions

from app.ray import board_caller
from app.ray.board_caller import BoardCaller
from tests.ray.fakes import Method

pytestmark = pytest.mark.ray

errors: Any = exceptions
"""Ray's exceptions, which have no types."""


class Dying:
    """A handle whose actor is dead for the first calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[tuple[Any, ...]] = []

    @property
    def change(self) -> Method:
        return Method(self._call)

    def _call(self, *arguments: Any) -> str:
        self.calls.append(arguments)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_caller, "AGAIN_EVERY_S", 0.0)


async def test_the_successor_of_a_board_is_asked_the_same(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    handle = Dying(errors.ActorDiedError(), errors.ActorUnavailableError("being started again", None))
    board = BoardCaller(handle)
    assert await board.call("change", 1, 2) == "done"
    assert handle.calls == [(1, 2)] * 3
    assert await board.call("change", 3) == "done"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2, "one when it is gone, one when it is back"
    assert "\n" not in lines[0]


async def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_caller, "PATIENCE_S", -1.0)
    with pytest.raises(errors.ActorDiedError):
        await BoardCaller(Dying(errors.ActorDiedError())).call("change")


async def test_an_error_that_no_other_replica_can_mend_is_raised_at_once() -> None:
    handle = Dying(errors.RaySystemError("no cluster"))
    with pytest.raises(errors.RaySystemError):
        await BoardCaller(handle).call("change")
    assert len(handle.calls) == 1
