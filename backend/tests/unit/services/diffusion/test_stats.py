from hypothesis import given
from hypothesis import strategies as st

from app.services.diffusion.stats import Outcome, Statistics


def test_a_fresh_service_has_counted_nothing() -> None:
    counted = Statistics().snapshot()
    assert counted.total_requests == 0
    assert counted.error_rate == 0.0
    assert counted.average_processing_time == 0.0


def test_error_rate_is_a_percentage_of_finished_requests_with_two_decimals() -> None:
    statistics = Statistics()
    for outcome in (Outcome.FAILED, Outcome.SUCCESSFUL, Outcome.CANCELLED):
        statistics.begin()
        statistics.end(outcome, processing_time_s=1.0)
    statistics.begin()
    assert statistics.snapshot().error_rate == 33.33


def test_the_average_is_over_successful_requests() -> None:
    statistics = Statistics()
    for outcome, seconds in ((Outcome.SUCCESSFUL, 1.0), (Outcome.SUCCESSFUL, 2.0), (Outcome.FAILED, 300.0)):
        statistics.begin()
        statistics.end(outcome, processing_time_s=seconds, num_tokens=5)
    counted = statistics.snapshot()
    assert counted.average_processing_time == 1.5
    assert counted.total_tokens_generated == 15


def test_use_is_counted_by_model_and_device() -> None:
    statistics = Statistics()
    for model_id in ("a", "b", "a"):
        statistics.count_use(model_id=model_id, device="cpu")
    counted = statistics.snapshot()
    assert counted.model_usage == {"a": 2, "b": 1}
    assert counted.device_usage == {"cpu": 3}
    assert statistics.requests_served("a") == 2
    assert statistics.requests_served("never") == 0


@given(st.lists(st.sampled_from([None, *Outcome])))
def test_the_law_holds_at_every_instant(ends: list[Outcome | None]) -> None:
    statistics, num_open = Statistics(), 0
    for outcome in ends:
        if outcome is None or num_open == 0:
            statistics.begin()
            num_open += 1
        else:
            statistics.end(outcome, processing_time_s=0.1)
            num_open -= 1
        counted = statistics.snapshot()
        finished = counted.successful_requests + counted.failed_requests + counted.cancelled_requests
        assert counted.total_requests == finished + counted.requests_in_flight
        assert counted.requests_in_flight == num_open
