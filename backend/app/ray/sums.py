"""Statistics of several replicas as those of one service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from app.services.diffusion.reports import DiffusionStatistics
from app.services.diffusion.requests.stats import UNFORESEEN


def summed(parts: Sequence[DiffusionStatistics]) -> DiffusionStatistics:
    """The law total = successful + failed + cancelled + in flight holds in each part, and so in the sum."""

    def total(name: str) -> Any:
        return sum(getattr(part, name) for part in parts)

    num_successful, num_failed = total("successful_requests"), total("failed_requests")
    num_finished = total("total_requests") - total("requests_in_flight")
    successful_time_s = sum(part.average_processing_time * part.successful_requests for part in parts)
    return DiffusionStatistics(
        total_requests=total("total_requests"),
        successful_requests=num_successful,
        failed_requests=num_failed,
        cancelled_requests=total("cancelled_requests"),
        requests_in_flight=total("requests_in_flight"),
        refused_requests=total("refused_requests"),
        failures=_counted(part.failures for part in parts),
        refusals=_counted(part.refusals for part in parts),
        average_processing_time=successful_time_s / num_successful if num_successful else 0.0,
        total_tokens_generated=total("total_tokens_generated"),
        model_usage=_counted(part.model_usage for part in parts),
        device_usage=_counted(part.device_usage for part in parts),
        error_rate=round(100 * num_failed / num_finished, 2) if num_finished else 0.0,
    )


def ended(part: DiffusionStatistics) -> DiffusionStatistics:
    """The statistics of a replica that is gone: nobody answers its requests in flight any more."""
    num_lost = part.requests_in_flight
    failures = _counted([part.failures, {UNFORESEEN: num_lost}]) if num_lost else part.failures
    return part.model_copy(
        update={"failed_requests": part.failed_requests + num_lost, "failures": failures, "requests_in_flight": 0}
    )


def _counted(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for part in parts:
        counted.update(part)
    return dict(counted)
