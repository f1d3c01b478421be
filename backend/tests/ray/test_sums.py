from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.ray.sums import ended, summed
from app.services.diffusion.reports import DiffusionStatistics
from tests.ray.samples import statistics

counts = st.integers(0, 1000)
parts = st.lists(
    st.builds(statistics, successful=counts, failed=counts, cancelled=counts, in_flight=counts, refused=counts),
    max_size=5,
)


@given(parts)
def test_the_sum_obeys_the_law_after_any_member_is_lost(several: list[DiffusionStatistics]) -> None:
    for total in (summed(several), summed(list(map(ended, several)))):
        outcomes = total.successful_requests + total.failed_requests + total.cancelled_requests
        assert total.total_requests == outcomes + total.requests_in_flight
        assert total.total_requests == sum(part.total_requests for part in several)
        assert total.failed_requests == sum(total.failures.values())
        assert total.refused_requests == sum(total.refusals.values())


def test_nothing_is_the_sum_of_nothing() -> None:
    assert summed([]) == statistics()


def test_one_part_is_its_own_sum() -> None:
    part = statistics(successful=2, failed=1, average_processing_time=1.5, model_usage={"llada": 3})
    assert summed([part]) == part


def test_the_average_weighs_by_requests_and_usage_adds_up() -> None:
    total = summed(
        [
            statistics(successful=1, average_processing_time=1.0, model_usage={"llada": 1}, device_usage={"cpu": 1}),
            statistics(successful=3, average_processing_time=2.0, model_usage={"llada": 1, "dreamon": 2}),
        ]
    )
    assert total.average_processing_time == 1.75
    assert total.model_usage == {"llada": 2, "dreamon": 2}
    assert total.device_usage == {"cpu": 1}
