"""Reads a server's metrics as Prometheus does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.api.serving import ANSWER_TIMEOUT_S, Server


def scrape(server: Server, **options: Any) -> list[Metric]:
    response = server.session.get(f"{server.url}/metrics", timeout=ANSWER_TIMEOUT_S, **options)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    return list(text_string_to_metric_families(response.text))


def value(metrics: list[Metric], name: str, **labels: str) -> float:
    """The sum of all samples that have these labels."""
    total: float = sum(sample.value for sample in samples(metrics, name) if labels.items() <= sample.labels.items())
    return total


def samples(metrics: list[Metric], name: str) -> Iterator[Any]:
    return (sample for metric in metrics for sample in metric.samples if sample.name == f"reynard_{name}")
