"""The service's counters, and the observers of every request that ends."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from app.services.diffusion.content_filter.rules import FilterHit
from app.services.diffusion.models import Operation
from app.services.diffusion.reports import DiffusionStatistics
from app.services.diffusion.requests.call import Call

logger = logging.getLogger(__name__)


UNFORESEEN = "internal_error"
"""The code of a failure that has none of its own."""


class Outcome(Enum):
    """The end of a request. A timeout and a full queue are failures: the server did not do what it is there for."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """Its caller has made a mistake. It leaves the books: counted as refused, and in no total."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """The report on one request, with nothing of what was said. Names of models are ids that the service knows: a
    request cannot bring up new ones. Times are seconds since its arrival."""

    outcome: Outcome
    operation: Operation
    processing_time_s: float
    code: str = ""
    """Why it failed or was refused: the code of its error."""
    request_id: str = ""
    requested_model: str = ""
    model_id: str = ""
    """The model that answered; empty like `requested_model` and `device` where it did not come to that."""
    device: str = ""
    queue_time_s: float | None = None
    """The seconds until its model began; `None` if it did not."""
    first_text_s: float | None = None
    """The seconds until the first text was sent; `None` if there was none."""
    num_tokens: int = 0
    num_denoising_steps: int = 0


Observer: TypeAlias = Callable[[RunReport], None]
"""Called on the event loop, in the context of the request, once its counters are settled. Must not block."""


class Statistics:
    """Counters with the law total = successful + failed + cancelled + in flight. Belongs to one event loop.

    The total is never stored: it is the sum of the others, so no moment exists at which the law could not hold. What
    was refused for a mistake of its caller is counted beside it, once for each call: a request that is in flight while
    the mistake is found is part of the total until then, and of none of the sums afterwards.
    """

    def __init__(self) -> None:
        self._num_in_flight = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._failures: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._model_usage: Counter[str] = Counter()
        self._device_usage: Counter[str] = Counter()
        self._filter_hits: Counter[FilterHit] = Counter()
        self._num_tokens = 0
        self._successful_time_s = 0.0
        self._observers: list[Observer] = []

    def subscribe(self, observer: Observer) -> None:
        """Reports every request that ends from now on to `observer`."""
        self._observers.append(observer)

    def begin(self) -> None:
        """A request has arrived. Exactly one `end` follows."""
        self._num_in_flight += 1

    def end(self, report: RunReport) -> None:
        self._num_in_flight -= 1
        if report.outcome is not Outcome.REFUSED:
            self._outcomes[report.outcome] += 1
        if report.outcome is Outcome.FAILED:
            self._failures[report.code or UNFORESEEN] += 1
        self._num_tokens += report.num_tokens
        if report.outcome is Outcome.SUCCESSFUL:
            self._successful_time_s += report.processing_time_s
        for observer in self._observers:
            _report(observer, report)

    def refuse(self, call: Call, code: str) -> None:
        """A call is refused for a mistake of its client. Only the first mistake of a call counts."""
        if not call.is_refused:
            call.is_refused = True
            self._refusals[code] += 1

    def count_use(self, *, model_id: str, device: str) -> None:
        """A model has begun to answer, whatever will come of it."""
        self._model_usage[model_id] += 1
        self._device_usage[device] += 1

    def count_filter_hit(self, hit: FilterHit) -> None:
        self._filter_hits[hit] += 1

    def requests_served(self, model_id: str) -> int:
        return self._model_usage[model_id]

    @property
    def num_in_flight(self) -> int:
        return self._num_in_flight

    @property
    def refusals(self) -> dict[str, int]:
        """The number of refused calls, by code."""
        return dict(self._refusals)

    @property
    def filter_hits(self) -> dict[FilterHit, int]:
        return dict(self._filter_hits)

    def snapshot(self) -> DiffusionStatistics:
        num_finished = self._outcomes.total()
        num_successful = self._outcomes[Outcome.SUCCESSFUL]
        num_failed = self._outcomes[Outcome.FAILED]
        return DiffusionStatistics(
            total_requests=num_finished + self._num_in_flight,
            successful_requests=num_successful,
            failed_requests=num_failed,
            cancelled_requests=self._outcomes[Outcome.CANCELLED],
            requests_in_flight=self._num_in_flight,
            refused_requests=self._refusals.total(),
            failures=dict(self._failures),
            refusals=self.refusals,
            average_processing_time=self._successful_time_s / num_successful if num_successful else 0.0,
            total_tokens_generated=self._num_tokens,
            model_usage=dict(self._model_usage),
            device_usage=dict(self._device_usage),
            error_rate=round(100 * num_failed / num_finished, 2) if num_finished else 0.0,
        )


def _report(observer: Observer, report: RunReport) -> None:
    """Reports to an observer; one that breaks does no harm."""
    try:
        observer(report)
    except Exception:
        logger.exception("an observer of requests broke")
