from __future__ import annotations

import pytest

from reynard_diffusion import ConnectionLost, DiffusionError, InvalidRequest, RateLimited, Unavailable
from reynard_diffusion.retries import Retries


def refused(retry_after_s: float | None = 2.0) -> DiffusionError:
    return RateLimited("wait", status=429, retry_after_s=retry_after_s)


def test_refusals_are_retried_a_limited_number_of_times() -> None:
    retries = Retries(2, 30)
    assert [retries.wait_s(refused()), retries.wait_s(refused(3.0))] == [2.0, 3.0]
    with pytest.raises(RateLimited):
        retries.wait_s(refused())


def test_all_waits_together_are_bounded() -> None:
    retries = Retries(10, 5)
    assert retries.wait_s(refused(4.0)) == 4.0
    with pytest.raises(RateLimited):
        retries.wait_s(refused(2.0))


@pytest.mark.parametrize(
    "error",
    [
        refused(None),
        InvalidRequest("no", status=422, retry_after_s=1.0),
        ConnectionLost("broke off"),
        Unavailable("in a stream", code="cancelled", retry_after_s=1.0),
    ],
)
def test_other_errors_are_not_retried(error: DiffusionError) -> None:
    with pytest.raises(type(error)) as caught:
        Retries(2, 30).wait_s(error)
    assert caught.value is error


def test_it_can_be_switched_off() -> None:
    with pytest.raises(RateLimited):
        Retries(0, 30).wait_s(refused(0.0))
