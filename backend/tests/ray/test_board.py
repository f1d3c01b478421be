from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ray import board as board_module
from app.ray.board import FORGET_S, INGRESS, SETTLING_S, STALE_S, Board, Changes, Report
from app.services.diffusion.reports import DiffusionStatistics
from tests.ray.samples import details, statistics
from tests.unit.api.clock import Clock


def settings_of(board: Board, **report: Any) -> dict[str, Any]:
    news = board.exchange(Report("newcomer", **report))
    return {name: value for name, (_, value) in news.changes.items()}


def law_holds(told: DiffusionStatistics) -> bool:
    ended = told.successful_requests + told.failed_requests + told.cancelled_requests
    return told.total_requests == ended + told.requests_in_flight


def test_a_late_member_gets_the_last_value_of_each_change() -> None:
    board = Board()
    board.change({"temperature": 0.1, "top_k": 5})
    board.change({"temperature": 0.2})
    assert settings_of(board) == {"temperature": 0.2, "top_k": 5}


def test_a_change_has_a_higher_number_than_all_before_it() -> None:
    board = Board()
    board.change({"temperature": 0.1})
    board.change({"top_k": 5})
    changes = board.exchange(Report("a")).changes
    assert changes["top_k"][0] > changes["temperature"][0]


def test_a_restarted_board_learns_the_changes_from_the_replicas() -> None:
    board = Board()
    board.change({"top_k": 5})
    again = Board()
    again.exchange(Report("a", board.exchange(Report("a")).changes))
    assert settings_of(again) == {"top_k": 5}
    again.change({"top_k": 6})
    assert settings_of(again, changes={"top_k": (1, 5)}) == {"top_k": 6}, "an older change wins nothing"


@given(st.lists(st.tuples(st.sampled_from(["change", "restart", "exchange"]), st.integers(0, 2)), max_size=12))
def test_the_last_change_wins_however_often_the_board_dies(steps: list[tuple[str, int]]) -> None:
    board, last = Board(), None
    known: list[Changes] = [{}, {}, {}]
    for number, (step, replica) in enumerate(steps):
        if step == "change":
            board.change({"top_k": number})
            last = number
            known = [board.exchange(Report(str(member), told)).changes for member, told in enumerate(known)]
        elif step == "restart":
            board = Board(is_successor=True)
        else:
            known[replica] = board.exchange(Report(str(replica), known[replica])).changes
    for told in known:
        board.exchange(Report("x", told))
    assert settings_of(board).get("top_k") == last


def test_a_change_on_a_new_board_wins_over_those_that_replicas_report_later() -> None:
    board = Board()
    for top_k in range(5):
        board.change({"top_k": top_k})
    known = board.exchange(Report("a")).changes
    successor = Board(is_successor=True)
    successor.change({"top_k": 9})
    assert successor.exchange(Report("a", known)).changes["top_k"][1] == 9


def test_models_are_listed_by_id_while_their_replicas_report() -> None:
    clock = Clock()
    board = Board(clock)
    board.exchange(Report("a", model=details("llada")))
    board.exchange(Report("b", model=details("dreamon")))
    assert {name: list(told) for name, told in board.exchange(Report("c")).models.items()} == {
        "llada": ["a"],
        "dreamon": ["b"],
    }
    clock.now_s += STALE_S + 1
    board.exchange(Report("b", model=details("dreamon")))
    assert list(board.exchange(Report("c")).models) == ["dreamon"]


def test_requests_in_flight_at_a_lost_ingress_count_as_failed() -> None:
    clock = Clock()
    board = Board(clock)
    board.exchange(Report("gone", statistics=statistics(successful=3, failed=1, in_flight=2)))
    clock.now_s += STALE_S + 1
    board.exchange(Report("there", statistics=statistics(successful=1, in_flight=1)))
    total = board.statistics()
    assert (total.total_requests, total.failed_requests, total.requests_in_flight) == (8, 3, 1)
    assert law_holds(total)


def test_an_ingress_that_was_only_silent_is_not_counted_twice() -> None:
    clock = Clock()
    board = Board(clock)
    board.exchange(Report("a", statistics=statistics(successful=3, in_flight=2)))
    clock.now_s += STALE_S + 1
    assert board.statistics().failed_requests == 2
    board.exchange(Report("a", statistics=statistics(successful=5)))
    assert board.statistics() == statistics(successful=5)


def test_after_an_hour_the_counts_stay_and_their_source_is_dropped() -> None:
    clock = Clock()
    board = Board(clock)
    for member in range(100):
        board.exchange(Report(str(member), statistics=statistics(successful=1, in_flight=1)))
    clock.now_s += FORGET_S + 1
    board.exchange(Report("there", statistics=statistics(successful=1)))
    total = board.statistics()
    assert (total.successful_requests, total.failed_requests, total.requests_in_flight) == (101, 100, 0)
    assert law_holds(total)
    assert len(board._reports) == 1


async def test_all_of_a_group_are_asked_and_nobody_else() -> None:
    board = Board()
    for member, model in (("a", details("llada")), ("b", details("llada")), ("c", details("dreamon"))):
        board.exchange(Report(member, model=model))
    asking = asyncio.create_task(board.ask("llada", "reload", 5.0))
    for member in ("a", "b"):
        ((number, method),) = await board.questions(member, 0)
        await board.answer(member, number, f"{method} of {member}")
    assert await asking == ["reload of a", "reload of b"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await board.questions("c", 0)


async def test_a_question_is_put_to_a_replica_once() -> None:
    board = Board()
    board.exchange(Report("a"))
    asking = asyncio.create_task(board.ask(INGRESS, "exchange", 5.0))
    ((number, _),) = await board.questions("a", 0)
    later = asyncio.create_task(board.questions("a", number))
    await board.answer("a", number, 1)
    await board.answer("a", number, 2)
    assert await asking == [1]
    again = asyncio.create_task(board.ask(INGRESS, "exchange", 5.0))
    ((next_number, _),) = await later
    assert next_number > number
    await board.answer("a", next_number, 3)
    assert await again == [3]


async def test_a_replacement_board_asks_once_it_knows_all_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "LOOK_EVERY_S", 0.0)
    clock = Clock()
    board = Board(clock, is_successor=True)
    asking = asyncio.create_task(board.ask(INGRESS, "exchange", 5.0))
    await asyncio.sleep(0)
    board.exchange(Report("a"))
    await asyncio.sleep(0)
    assert not asking.done()
    assert not board._questions
    clock.now_s += SETTLING_S
    ((number, _),) = await board.questions("a", 0)
    await board.answer("a", number, 1)
    assert await asking == [1]


async def test_questions_of_a_successor_have_higher_numbers() -> None:
    numbers: list[int] = []
    for board in (Board(), Board()):
        board.exchange(Report("a"))
        asking = asyncio.create_task(board.ask(INGRESS, "exchange", 5.0))
        ((number, _),) = await board.questions("a", max(numbers, default=0))
        await board.answer("a", number, 1)
        assert await asking == [1]
        numbers.append(number)
    assert numbers[0] < numbers[1]


async def test_a_member_that_answers_too_late_is_left_out() -> None:
    board = Board()
    board.exchange(Report("a"))
    board.exchange(Report("b"))
    asking = asyncio.create_task(board.ask(INGRESS, "exchange", 0.05))
    ((number, _),) = await board.questions("a", 0)
    await board.answer("a", number, 1)
    assert await asking == [1]
    await board.answer("b", number, 2)


async def test_nobody_waits_for_a_replica_that_is_gone() -> None:
    clock = Clock()
    board = Board(clock)
    board.exchange(Report("a"))
    board.exchange(Report("b"))
    asking = asyncio.create_task(board.ask(INGRESS, "exchange", 60.0))
    ((number, _),) = await board.questions("a", 0)
    clock.now_s += STALE_S + 1
    await board.answer("a", number, 1)
    assert await asking == [1]
    assert await board.ask(INGRESS, "exchange", 60.0) == []
