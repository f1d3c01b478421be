from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.api.observation.instruments import Instruments
from app.api.observation.scrape import ENGINE_COUNTERS, Scrape
from app.engine.device.memory import DeviceMemory
from app.engine.interface.counters import EngineCounters
from app.services.diffusion.content_filter.rules import FilterHit
from app.services.diffusion.observation import ServiceObservation
from app.services.diffusion.residency.observation import ModelObservation

LOADED = ModelObservation("dreamon", True, "cuda:0", 2_000, EngineCounters(num_passes=4, num_sequences=10, busy_s=0.5))
ABSENT = ModelObservation("llada", False)
SERVICE = ServiceObservation(
    num_in_flight=6,
    num_running=3,
    num_waiting=2,
    models=(LOADED, ABSENT),
    filter_hits={FilterHit("names", "output", "mask"): 7},
)


def scraped(service: ServiceObservation = SERVICE) -> dict[str, dict[tuple[str, ...], float]]:
    """Metric -> values of its labels, by their names in order -> value, by way of the text format."""
    scrape = Scrape(CollectorRegistry(), service, {"cuda:0": DeviceMemory(30, 100)}, "1.2.3")
    families = text_string_to_metric_families(generate_latest(scrape).decode())
    samples = [sample for family in families for sample in family.samples]
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for sample in samples:
        values.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return values


def test_it_reports_the_state_of_the_service() -> None:
    values = scraped()
    assert values["reynard_requests_in_flight"] == {(): 6}
    assert values["reynard_requests_running"] == {(): 3}
    assert values["reynard_requests_waiting"] == {(): 2}
    assert values["reynard_filter_hits_total"] == {("mask", "output", "names"): 7}
    assert values["reynard_build_info"] == {("1.2.3",): 1}


def test_it_reports_models_and_devices() -> None:
    values = scraped()
    assert values["reynard_model_available"] == {("dreamon",): 1, ("llada",): 0}
    assert values["reynard_model_loaded"] == {("dreamon",): 1, ("llada",): 0}
    assert values["reynard_model_weights_bytes"] == {("cuda:0", "dreamon"): 2_000}
    assert values["reynard_device_memory_used_bytes"] == {("cuda:0",): 30}
    assert values["reynard_device_memory_size_bytes"] == {("cuda:0",): 100}


def test_it_reports_the_counts_of_the_engines() -> None:
    values = scraped()
    assert values["reynard_engine_forward_passes_total"] == {("dreamon",): 4}
    assert values["reynard_engine_sequences_total"] == {("dreamon",): 10}
    assert values["reynard_engine_busy_seconds_total"] == {("dreamon",): 0.5}


def test_no_counter_of_an_engine_is_left_out() -> None:
    assert {field for field, _ in ENGINE_COUNTERS.values()} == set(EngineCounters.__slots__)


def test_accumulated_metrics_come_first() -> None:
    instruments = Instruments()
    instruments.note_lag(0.25)
    text = generate_latest(Scrape(instruments.registry, SERVICE, {}, "1")).decode()
    assert "reynard_event_loop_lag_seconds_sum 0.25" in text
    assert "_created" not in text
    assert text.index("reynard_event_loop_lag_seconds") < text.index("reynard_requests_in_flight")
