"""Metrics of all replicas as one answer to Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import Metric
from prometheus_client.registry import Collector


class ReplicaMetrics(Collector):
    """Every sample gets the label `replica`. Sums are Prometheus' business: there, a replica that is gone takes nothing
    away from what has been counted."""

    def __init__(self, reported: Iterable[tuple[str, Sequence[Metric]]]) -> None:
        self._families: dict[str, Metric] = {}
        for replica, metrics in reported:
            for metric in metrics:
                self._add(replica, metric)

    def collect(self) -> Iterable[Metric]:
        return self._families.values()

    def _add(self, replica: str, metric: Metric) -> None:
        empty = Metric(metric.name, metric.documentation, metric.type, metric.unit)
        family = self._families.setdefault(metric.name, empty)
        family.samples += [sample._replace(labels={**sample.labels, "replica": replica}) for sample in metric.samples]
