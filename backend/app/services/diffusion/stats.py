"""What the service counts, and who else is told how a request went."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

from app.services.diffusion.models import DiffusionStatistics, Operation

logger = logging.getLogger(__name__)


class Outcome(Enum):
    """How a request ended; a timeout and a refusal are failures."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class RunReport:
    """How one request went, and nothing of what was said. Names of models are ids that the service knows: a request
    cannot bring up new ones. Times are seconds since its arrival."""

    outcome: Outcome
    operation: Operation
    processing_time_s: float
    code: str = ""
    """Why it failed: the code of its error."""
    requested_model: str = ""
    model_id: str = ""
    """Who answered; empty like `requested_model` and `device` where it did not come to that."""
    device: str = ""
    queue_time_s: float | None = None
    """Until its model began; `None` where it did not."""
    first_text_s: float | None = None
    """Until the first text left; `None` where there was none."""
    num_tokens: int = 0
    num_denoising_steps: int = 0


class FilterHit(NamedTuple):
    """A rule of the content filter has matched; the rule's name, never the text."""

    rule: str
    direction: str
    action: str


Observer: TypeAlias = Callable[[RunReport], None]
"""Called on the event loop, in the context of the request, once its counters are settled. Must not block."""


class Statistics:
    """Counters with the law total = successful + failed + cancelled + in flight. Belongs to one event loop.

    The total is never stored: it is the sum of the others, so no moment exists at which the law could not hold.
    """

    def __init__(self) -> None:
        self._num_in_flight = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._model_usage: Counter[str] = Counter()
        self._device_usage: Counter[str] = Counter()
        self._filter_hits: Counter[FilterHit] = Counter()
        self._num_tokens = 0
        self._successful_time_s = 0.0
        self._observers: list[Observer] = []

    def subscribe(self, observer: Observer) -> None:
        """From now on `observer` is told of every request that ends."""
        self._observers.append(observer)

    def begin(self) -> None:
        """A request has arrived. Exactly one `end` follows."""
        self._num_in_flight += 1

    def end(self, report: RunReport) -> None:
        self._num_in_flight -= 1
        self._outcomes[report.outcome] += 1
        self._num_tokens += report.num_tokens
        if report.outcome is Outcome.SUCCESSFUL:
            self._successful_time_s += report.processing_time_s
        for observer in self._observers:
            _tell(observer, report)

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
            average_processing_time=self._successful_time_s / num_successful if num_successful else 0.0,
            total_tokens_generated=self._num_tokens,
            model_usage=dict(self._model_usage),
            device_usage=dict(self._device_usage),
            error_rate=round(100 * num_failed / num_finished, 2) if num_finished else 0.0,
        )


def _tell(observer: Observer, report: RunReport) -> None:
    """Whoever watches must not harm what is watched."""
    try:
        observer(report)
    except Exception:
        logger.exception("an observer of requests broke")
