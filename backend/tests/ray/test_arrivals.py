from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ray.arrivals import Arrivals
from app.services.diffusion.errors import Overloaded

few = st.integers(0, 5)


@given(places=st.integers(1, 5), max_waiting=few, num_replicas=few)
def test_running_and_waiting_requests_up_to_the_limits_are_admitted_at_once(
    places: int, max_waiting: int, num_replicas: int
) -> None:
    arrivals = Arrivals("llada", places=places, max_waiting=max_waiting)
    limit = places * max(num_replicas, 1) + max_waiting
    for _ in range(2):  # who has left leaves no trace
        with ExitStack() as present:
            for _ in range(limit):
                present.enter_context(arrivals.arrival(num_replicas))
            with pytest.raises(Overloaded), arrivals.arrival(num_replicas):
                pass
            with arrivals.arrival(num_replicas + 2):
                pass


def test_a_refusal_names_the_limit() -> None:
    arrivals = Arrivals("llada", places=4, max_waiting=0)
    with ExitStack() as present:
        for _ in range(8):
            present.enter_context(arrivals.arrival(2))
        with pytest.raises(Overloaded, match=r"8 requests .*8 places .*max_queued_requests=0"):
            present.enter_context(arrivals.arrival(2))
