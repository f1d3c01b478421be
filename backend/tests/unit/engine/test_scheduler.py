from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import QueueFull
from app.engine.scheduler import Scheduler
from tests.profiles import examples

BYTES_PER_ROW = 10
CONFIG = EngineConfig(max_waiting=3, max_running=3, max_batch_tokens=20, max_logits_bytes=10 * BYTES_PER_ROW)


@dataclass(frozen=True)
class Job:
    number: int
    max_tokens: int
    max_rows: int


def fits(jobs: list[Job]) -> bool:
    """Three jobs, twenty tokens, ten rows: what `CONFIG` allows."""
    return len(jobs) <= 3 and sum(j.max_tokens for j in jobs) <= 20 and sum(j.max_rows for j in jobs) <= 10


def admit(scheduler: Scheduler[Job]) -> list[Job]:
    """Lets in whoever fits, one after the other."""
    admitted: list[Job] = []
    while (job := scheduler.next()) is not None:
        scheduler.begin(job)
        admitted.append(job)
    return admitted


class RandomArrivals(RuleBasedStateMachine):
    """Jobs of any size come, are admitted, finish and are cancelled in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler: Scheduler[Job] = Scheduler(CONFIG, BYTES_PER_ROW)
        self.queue: list[Job] = []
        self.running: list[Job] = []
        self.num_jobs = 0

    @rule(tokens=st.integers(1, 30), rows=st.integers(0, 15))
    def arrive(self, tokens: int, rows: int) -> None:
        job = Job(self.num_jobs, tokens, rows)
        self.num_jobs += 1
        if len(self.queue) == CONFIG.max_waiting:
            with pytest.raises(QueueFull, match="3 requests are waiting"):
                self.scheduler.add(job)
        else:
            self.scheduler.add(job)
            self.queue.append(job)

    @rule()
    def admit(self) -> None:
        admitted = admit(self.scheduler)
        assert admitted == self.queue[: len(admitted)], "first come, first served"
        self.running += admitted
        del self.queue[: len(admitted)]
        assert not self.queue or not fits([*self.running, self.queue[0]]), "there was still room"
        assert self.running or not self.queue, "somebody waits for nothing"

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.running))
        self.scheduler.remove(job)
        self.running.remove(job)

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def cancel_in_the_queue(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.queue))
        self.scheduler.remove(job)
        self.queue.remove(job)

    @invariant()
    def the_batch_keeps_its_budgets(self) -> None:
        assert list(self.scheduler.waiting) == self.queue
        assert self.scheduler.running == self.running
        assert fits(self.running) or len(self.running) == 1

    @invariant()
    def every_job_can_be_found(self) -> None:
        for job in [*self.queue, *self.running]:
            assert self.scheduler.find(job.__eq__) is job
        assert self.scheduler.find(lambda job: job.number == self.num_jobs) is None


TestRandomArrivals = RandomArrivals.TestCase
TestRandomArrivals.settings = settings(examples(60), stateful_step_count=30)


def scheduler_with(*jobs: Job) -> Scheduler[Job]:
    scheduler: Scheduler[Job] = Scheduler(CONFIG, BYTES_PER_ROW)
    for job in jobs:
        scheduler.add(job)
    return scheduler


def test_a_request_that_exceeds_the_whole_budget_runs_alone() -> None:
    giant, small = Job(0, 1000, 1000), Job(1, 1, 1)
    scheduler = scheduler_with(giant, small)
    assert admit(scheduler) == [giant]
    assert admit(scheduler) == []
    scheduler.remove(giant)
    assert admit(scheduler) == [small]


def test_a_small_request_does_not_overtake_a_large_one_that_waits() -> None:
    first, large, small = Job(0, 15, 1), Job(1, 15, 1), Job(2, 1, 1)
    scheduler = scheduler_with(first, large, small)
    assert admit(scheduler) == [first]
    scheduler.remove(first)
    assert admit(scheduler) == [large, small]


@pytest.mark.parametrize(("second", "num_admitted"), [(Job(1, 10, 5), 2), (Job(1, 11, 5), 1), (Job(1, 10, 6), 1)])
def test_a_budget_may_be_used_up_but_not_passed(second: Job, num_admitted: int) -> None:
    assert len(admit(scheduler_with(Job(0, 10, 5), second))) == num_admitted


def test_logits_are_a_budget_of_their_own() -> None:
    scheduler = scheduler_with(Job(0, 1, 6), Job(1, 1, 5))
    assert [job.number for job in admit(scheduler)] == [0]
