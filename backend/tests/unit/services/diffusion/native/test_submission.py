"""A constrained request is prepared beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.interface.params import DecodingParams, GenerationRequest, ReadCanvas, ReadRequest
from app.services.diffusion.native.submission import submit
from tests.unit.engine.constraint.automata import automaton_of


class SlowEngine:
    """Stands where an engine does; beside the event loop it prepares nothing before the test lets it."""

    def __init__(self) -> None:
        self.prepared_by: threading.Thread | None = None
        self.may_go_on = threading.Event()
        self.entered: list[Any] = []

    def prepare(self, request: Any, on_event: Any) -> Any:
        self.prepared_by = threading.current_thread()
        if self.prepared_by is not threading.main_thread():
            assert self.may_go_on.wait(30)
        return request

    def enter(self, state: Any) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.entered.append(state)


def request_of(constraint: TokenAutomaton | None) -> GenerationRequest:
    return GenerationRequest("a", (1,), (), DecodingParams(4), constraint=constraint)


async def preparing(engine: Any, request: GenerationRequest) -> asyncio.Task[None]:
    """The submission of a constrained request that is being prepared."""
    task = asyncio.create_task(submit(engine, request, print, "llada"))
    while engine.prepared_by is None:
        await asyncio.sleep(0)
    return task


async def test_the_event_loop_goes_on_while_a_constraint_is_prepared() -> None:
    engine = SlowEngine()
    request = request_of(automaton_of({(0, 1): 1}, {1}, 4))
    submission = await preparing(engine, request)
    assert not submission.done()
    engine.may_go_on.set()
    await submission
    assert engine.entered == [request]


async def test_who_leaves_meanwhile_never_enters() -> None:
    engine = SlowEngine()
    submission = await preparing(engine, request_of(automaton_of({(0, 1): 1}, {1}, 4)))
    submission.cancel()
    engine.may_go_on.set()
    with suppress(asyncio.CancelledError):
        await submission
    assert submission.cancelled()
    assert engine.entered == []


@pytest.mark.parametrize("request_", [request_of(None), ReadRequest("b", (ReadCanvas((1, 2), (0,), ((2,),)),))])
async def test_others_cost_no_change_of_thread(request_: Any) -> None:
    engine: Any = SlowEngine()
    await submit(engine, request_, print, "llada")
    assert engine.entered == [request_]
    assert engine.prepared_by is threading.main_thread()
