from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.services.diffusion import (
    DiffusionGenerationParams,
    DiffusionLLMService,
    InvalidParameters,
    Overloaded,
    ServiceError,
    UnknownModel,
)
from app.services.diffusion.content_filter.rules import FilterHit
from app.services.diffusion.errors import Refusal
from app.services.diffusion.requests.call import Call
from app.services.diffusion.requests.stats import Outcome, RunReport, Statistics
from tests.fakes import BreakingModel, GatedModel, StubbornModel, WordsModel
from tests.profiles import examples
from tests.unit.services.diffusion.serving import assert_law, serving

ENDED = RunReport(Outcome.SUCCESSFUL, "generate", processing_time_s=1.0)


def report(outcome: Outcome, processing_time_s: float = 1.0, num_tokens: int = 0) -> RunReport:
    return replace(ENDED, outcome=outcome, processing_time_s=processing_time_s, num_tokens=num_tokens)


def test_a_fresh_service_has_counted_nothing() -> None:
    counted = Statistics().snapshot()
    assert counted.total_requests == 0
    assert counted.error_rate == 0.0
    assert counted.average_processing_time == 0.0


def test_error_rate_is_a_percentage_of_finished_requests_with_two_decimals() -> None:
    statistics = Statistics()
    for outcome in (Outcome.FAILED, Outcome.SUCCESSFUL, Outcome.CANCELLED):
        statistics.begin()
        statistics.end(report(outcome))
    statistics.begin()
    assert statistics.snapshot().error_rate == 33.33


def test_the_average_is_over_successful_requests() -> None:
    statistics = Statistics()
    for outcome, seconds in ((Outcome.SUCCESSFUL, 1.0), (Outcome.SUCCESSFUL, 2.0), (Outcome.FAILED, 300.0)):
        statistics.begin()
        statistics.end(report(outcome, seconds, num_tokens=5))
    counted = statistics.snapshot()
    assert counted.average_processing_time == 1.5
    assert counted.total_tokens_generated == 15


def test_use_is_counted_by_model_and_device() -> None:
    statistics = Statistics()
    for model_id in ("a", "b", "a"):
        statistics.count_use(model_id=model_id, device="cpu")
    counted = statistics.snapshot()
    assert counted.model_usage == {"a": 2, "b": 1}
    assert counted.device_usage == {"cpu": 3}
    assert statistics.requests_served("a") == 2
    assert statistics.requests_served("never") == 0


def test_hits_of_the_filter_are_counted_by_rule_direction_and_action() -> None:
    statistics = Statistics()
    for direction in ("input", "output", "input"):
        statistics.count_filter_hit(FilterHit("names", direction, "mask"))
    assert statistics.filter_hits == {("names", "input", "mask"): 2, ("names", "output", "mask"): 1}


def test_observers_get_a_report_after_the_counters_are_updated() -> None:
    statistics = Statistics()
    seen: list[tuple[RunReport, int]] = []
    statistics.subscribe(lambda ended: seen.append((ended, statistics.num_in_flight)))
    statistics.begin()
    statistics.end(ENDED)
    assert seen == [(ENDED, 0)]


def test_an_observer_that_breaks_affects_no_request(caplog: pytest.LogCaptureFixture) -> None:
    statistics = Statistics()
    seen: list[RunReport] = []

    def broken(_: RunReport) -> None:
        raise RuntimeError("blind")

    statistics.subscribe(broken)
    statistics.subscribe(seen.append)
    statistics.begin()
    statistics.end(ENDED)
    assert seen == [ENDED]
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "an observer of requests broke")
    ]


class Bookkeeping(RuleBasedStateMachine):
    """Requests come, are answered and go in any order; a book of our own says what must have been counted."""

    def __init__(self) -> None:
        super().__init__()
        self.statistics = Statistics()
        self.num_open = 0
        self.ended: list[RunReport] = []
        self.used: list[str] = []
        self.calls = [Call() for _ in range(3)]
        self.refused: set[str] = set()

    @rule(number=st.integers(0, 2), code=st.sampled_from(["invalid_parameters", "unknown_model"]))
    def refuse(self, number: int, code: str) -> None:
        self.statistics.refuse(self.calls[number], code)
        self.refused.add(self.calls[number].request_id)

    @rule()
    def arrive(self) -> None:
        self.statistics.begin()
        self.num_open += 1

    @precondition(lambda self: self.num_open > 0)
    @rule(outcome=st.sampled_from(Outcome), seconds=st.floats(0, 1e4, allow_nan=False), num_tokens=st.integers(0, 2048))
    def leave(self, outcome: Outcome, seconds: float, num_tokens: int) -> None:
        self.ended.append(report(outcome, seconds, num_tokens))
        self.statistics.end(self.ended[-1])
        self.num_open -= 1

    @rule(model_id=st.sampled_from(["dreamon", "llada"]))
    def use(self, model_id: str) -> None:
        self.statistics.count_use(model_id=model_id, device="cpu")
        self.used.append(model_id)

    @invariant()
    def the_law_holds_and_nothing_is_lost(self) -> None:
        counted = self.statistics.snapshot()
        by_outcome = (counted.successful_requests, counted.failed_requests, counted.cancelled_requests)
        assert counted.total_requests == sum(by_outcome) + counted.requests_in_flight
        ends = (Outcome.SUCCESSFUL, Outcome.FAILED, Outcome.CANCELLED)
        assert by_outcome == tuple(sum(ended.outcome is outcome for ended in self.ended) for outcome in ends)
        assert sum(counted.failures.values()) == counted.failed_requests
        assert counted.refused_requests == sum(counted.refusals.values()) == len(self.refused)
        assert counted.requests_in_flight == self.num_open
        assert counted.total_tokens_generated == sum(ended.num_tokens for ended in self.ended)
        assert sum(counted.model_usage.values()) == sum(counted.device_usage.values()) == len(self.used)
        assert 0.0 <= counted.error_rate <= 100.0


TestBookkeeping = Bookkeeping.TestCase


# -- the law, while real requests run ----------------------------------------------------------------------------------

FATES = ("answered", "broken", "given up", "dropped", "timed out", "unknown", "stubborn")


async def ask(service: DiffusionLLMService, fate: str) -> Outcome:
    """One request and how it must be counted, by what its caller sees."""
    model_id = {"answered": "words", "broken": "breaking", "unknown": "nobody", "stubborn": "stubborn"}
    generation = service.generate_stream("x", model_id=model_id.get(fate, "gated"))
    if fate == "dropped":
        waiting = asyncio.ensure_future(generation.accepted())
        await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError, ServiceError):
            await waiting
        return Outcome.CANCELLED
    try:
        if fate == "given up":
            await generation.accepted()
            await generation.aclose()
            return Outcome.CANCELLED
        await generation
    except Refusal:
        return Outcome.REFUSED
    except ServiceError:
        return Outcome.FAILED
    return Outcome.SUCCESSFUL


@examples(25)
@given(st.lists(st.sampled_from(FATES), min_size=1, max_size=8), st.integers(1, 4), st.integers(0, 4))
def test_the_law_holds_at_every_instant_while_requests_run(fates: list[str], max_running: int, max_queued: int) -> None:
    async def run() -> None:
        models = (WordsModel(), BreakingModel(), GatedModel(), StubbornModel("stubborn"))
        limits = {"max_concurrent_requests": max_running, "max_queued_requests": max_queued, "timeout_seconds": 0.05}
        async with serving(*models, **limits) as service:
            watching = asyncio.create_task(watch(service))
            seen = await asyncio.gather(*(ask(service, fate) for fate in fates))
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            check_counts(service, seen)

    asyncio.run(run())


async def watch(service: DiffusionLLMService) -> None:
    """Between any two moves of anybody else on the loop."""
    num_arrived = 0
    while True:
        assert_law(service)
        counted = service.statistics()
        assert counted.total_requests + counted.refused_requests >= num_arrived
        assert counted.requests_in_flight == service.observation().num_in_flight >= 0
        num_arrived = counted.total_requests + counted.refused_requests
        await asyncio.sleep(0)


def check_counts(service: DiffusionLLMService, seen: list[Outcome]) -> None:
    counted = service.statistics()
    assert counted.requests_in_flight == 0
    assert counted.successful_requests == seen.count(Outcome.SUCCESSFUL)
    assert counted.total_requests + counted.refused_requests == len(seen)
    assert counted.refused_requests <= seen.count(Outcome.REFUSED)
    # Who gives up and who is turned away at the same moment may each come first; both are counted once.
    assert counted.successful_requests + counted.refused_requests + counted.failed_requests <= len(seen)


# -- mistakes of callers -----------------------------------------------------------------------------------------------


async def test_a_mistake_found_late_is_counted_like_one_found_early() -> None:
    async with serving(WordsModel()) as service:
        with pytest.raises(InvalidParameters):  # by the parameters' own bounds, before there is a request
            service.generate_stream("x", temperature=99)
        early = service.statistics()
        with pytest.raises(InvalidParameters):  # by the model that was chosen
            await service.generate_stream("x", algorithm="none such")
        late = service.statistics()
    assert (early.refused_requests, early.total_requests) == (1, 0)
    assert (late.refused_requests, late.total_requests, late.error_rate) == (2, 0, 0.0)
    assert late.refusals == {"invalid_parameters": 2}


async def test_a_mistake_in_a_call_for_several_generations_is_one_mistake() -> None:
    gated = GatedModel()
    async with serving(gated) as service:
        good, bad = DiffusionGenerationParams(text="x"), DiffusionGenerationParams(text="x", model_id="nobody")
        wanted = [good, bad, bad, good]
        generations = [service.generation(p, part) for p, part in zip(wanted, Call().parts(4), strict=True)]
        outcomes = await asyncio.gather(*(each.accepted() for each in generations), return_exceptions=True)
        for generation in generations:
            await generation.aclose()
        counted = service.statistics()
    assert [type(outcome) for outcome in outcomes] == [type(None), UnknownModel, UnknownModel, type(None)]
    assert (counted.total_requests, counted.cancelled_requests, counted.failed_requests) == (0, 0, 0)
    assert counted.refusals == {"unknown_model": 1}


async def test_unavailability_counts_as_a_failure_by_its_code() -> None:
    async with serving(GatedModel(), max_concurrent_requests=1, max_queued_requests=0) as service:
        holding = service.generate_stream("x")
        await holding.accepted()
        with pytest.raises(Overloaded):
            await service.generate_stream("x")
        await holding.aclose()
        counted = service.statistics()
    assert (counted.failures, counted.failed_requests, counted.cancelled_requests) == ({"queue_full": 1}, 1, 1)
    assert (counted.refused_requests, counted.error_rate) == (0, 50.0)


async def test_a_mistake_is_one_also_where_there_is_no_room() -> None:
    async with serving(GatedModel(), max_concurrent_requests=1, max_queued_requests=0) as service:
        holding = service.generate_stream("x")
        await holding.accepted()
        with pytest.raises(UnknownModel):
            await service.generate_stream("x", model_id="nobody")
        with pytest.raises(InvalidParameters):
            await service.infill_stream("x", "y")
        await holding.aclose()
        counted = service.statistics()
    assert (counted.refused_requests, counted.failed_requests) == (2, 0)
