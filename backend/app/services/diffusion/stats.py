"""What the service counts."""

from __future__ import annotations

from collections import Counter
from enum import Enum

from app.services.diffusion.models import DiffusionStatistics


class Outcome(Enum):
    """How a request ended; a timeout and a refusal are failures."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Statistics:
    """Counters with the law total = successful + failed + cancelled + in flight. Belongs to one event loop."""

    def __init__(self) -> None:
        self._num_in_flight = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._model_usage: Counter[str] = Counter()
        self._device_usage: Counter[str] = Counter()
        self._num_tokens = 0
        self._successful_time_s = 0.0

    def begin(self) -> None:
        """A request has arrived. Exactly one `end` follows."""
        self._num_in_flight += 1

    def end(self, outcome: Outcome, *, processing_time_s: float, num_tokens: int = 0) -> None:
        self._num_in_flight -= 1
        self._outcomes[outcome] += 1
        self._num_tokens += num_tokens
        if outcome is Outcome.SUCCESSFUL:
            self._successful_time_s += processing_time_s

    def count_use(self, *, model_id: str, device: str) -> None:
        """A model has begun to answer, whatever will come of it."""
        self._model_usage[model_id] += 1
        self._device_usage[device] += 1

    def requests_served(self, model_id: str) -> int:
        return self._model_usage[model_id]

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
