"""Gauges and counters that are read off the service when Prometheus asks, and stored nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from app.services.diffusion.observation import ServiceObservation
from app.services.diffusion.residency.observation import ModelObservation

if TYPE_CHECKING:
    from app.engine.device.memory import DeviceMemory

Samples: TypeAlias = Iterable[tuple[tuple[str, ...], float]]

ENGINE_COUNTERS = {
    "forward_passes": ("num_passes", "Forward passes."),
    "sequences": ("num_sequences", "Sequences in forward passes; divided by these: how full the batches are."),
    "canvas_tokens": ("num_tokens", "Canvas tokens in forward passes."),
    "busy_seconds": ("busy_s", "Seconds in forward passes and in reading their logits."),
    "out_of_memory": ("num_out_of_memory", "Forward passes that did not fit the device."),
    "split_batches": ("num_split_batches", "Of these, the ones that were run again in smaller parts."),
    "not_finite": ("num_not_finite", "Requests that ended because the model gave NaN or infinity for them."),
    "moved_requests": ("num_moved_requests", "Requests that left their device for the CPU."),
    "moved_models": ("num_moved_models", "Times that the weights followed them."),
    "returned_models": ("num_returned_models", "Times that the weights came back."),
}
"""`reynard_engine_<name>_total` -> field of EngineCounters, help."""


class Scrape(Collector):
    """One answer to Prometheus: what `counted` holds, and the state of the service at this moment.

    An engine's counters begin at zero when its model is reloaded, and are absent while it is not loaded; Prometheus
    knows both from restarts, and `rate` and `increase` allow for it.
    """

    def __init__(
        self, counted: Collector, service: ServiceObservation, memory: Mapping[str, DeviceMemory], version: str
    ) -> None:
        self._counted = counted
        self._service = service
        self._memory = memory
        self._version = version

    def collect(self) -> Iterator[Metric]:
        yield from map(_without_birthdays, self._counted.collect())
        yield _gauge("build_info", "The version that runs; the value is 1.", ("version",), [((self._version,), 1)])
        yield from _requests(self._service)
        yield from _models(self._service.models)
        yield from _devices(self._memory)
        yield from _engines(self._service.models)


def _without_birthdays(metric: Metric) -> Metric:
    """The metric without the times at which its counters were made: a quarter of all lines, which nobody needs."""
    metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
    return metric


def _requests(service: ServiceObservation) -> Iterator[Metric]:
    yield _gauge("requests_in_flight", "Requests that have not ended.", (), [((), service.num_in_flight)])
    yield _gauge("requests_running", "Requests that hold a place.", (), [((), service.num_running)])
    yield _gauge("requests_waiting", "Requests that wait for a place.", (), [((), service.num_waiting)])
    refusals = CounterMetricFamily(
        "reynard_refused_requests", "Calls with a mistake of their client, by code of the error.", labels=("code",)
    )
    for code, count in service.refusals.items():
        refusals.add_metric((code,), count)
    yield refusals
    hits = CounterMetricFamily(
        "reynard_filter_hits", "Matches of the content filter.", labels=("rule", "direction", "action")
    )
    for hit, count in service.filter_hits.items():
        hits.add_metric(hit, count)
    yield hits


def _models(models: Iterable[ModelObservation]) -> Iterator[Metric]:
    yield _gauge(
        "model_available",
        "1 where the model answers, at once or after it was loaded on demand.",
        ("model",),
        [((model.model_id,), model.is_available) for model in models],
    )
    yield _gauge(
        "model_loaded",
        "1 where the model is in memory.",
        ("model",),
        [((model.model_id,), bool(model.device)) for model in models],
    )
    yield _gauge(
        "model_weights_bytes",
        "Weights on the device.",
        ("model", "device"),
        [((model.model_id, model.device), model.weights_bytes) for model in models if model.device],
    )


def _devices(memory: Mapping[str, DeviceMemory]) -> Iterator[Metric]:
    yield _gauge(
        "device_memory_used_bytes",
        "Memory in use on a device that holds a model, by anybody.",
        ("device",),
        [((device,), observed.used_bytes) for device, observed in memory.items()],
    )
    yield _gauge(
        "device_memory_size_bytes",
        "Memory of a device that holds a model.",
        ("device",),
        [((device,), observed.total_bytes) for device, observed in memory.items()],
    )


def _engines(models: Iterable[ModelObservation]) -> Iterator[Metric]:
    counters = {model.model_id: model.counters for model in models if model.counters is not None}
    for name, (field, explanation) in ENGINE_COUNTERS.items():
        family = CounterMetricFamily(f"reynard_engine_{name}", explanation, labels=("model",))
        for model_id, counted in counters.items():
            family.add_metric((model_id,), getattr(counted, field))
        yield family


def _gauge(name: str, explanation: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    family = GaugeMetricFamily(f"reynard_{name}", explanation, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
