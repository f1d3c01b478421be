from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.exposition import generate_latest

from app.ray.metrics import ReplicaMetrics


def families(count: int) -> list[Metric]:
    registry = CollectorRegistry()
    Counter("requests", "Requests.", ["model"], registry=registry).labels("llada").inc(count)
    Gauge("waiting", "Waiting.", registry=registry).set(count)
    return list(registry.collect())


def test_every_sample_names_its_source_and_every_family_appears_once() -> None:
    text = generate_latest(ReplicaMetrics([("a", families(1)), ("b", families(2))])).decode()
    assert 'requests_total{model="llada",replica="a"} 1.0' in text
    assert 'requests_total{model="llada",replica="b"} 2.0' in text
    assert 'waiting{replica="b"} 2.0' in text
    assert text.count("# TYPE requests_total counter") == 1
    assert text.count("# HELP waiting Waiting.") == 1
