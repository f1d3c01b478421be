from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from app.core.open_files import allow_open_files


@pytest.fixture(autouse=True)
def _limits_as_they_were() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def lower_soft_limit(soft: int) -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return hard


def test_raises_the_limit_as_far_as_it_is_needed() -> None:
    lower_soft_limit(300)
    assert allow_open_files(400) == 400
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 400


def test_the_limit_is_never_lowered() -> None:
    lower_soft_limit(300)
    assert allow_open_files(100) == 300


def test_the_limit_that_was_reached_is_returned() -> None:
    hard = lower_soft_limit(300)
    if hard == resource.RLIM_INFINITY:
        assert allow_open_files(10_000) <= 10_000
    else:
        assert allow_open_files(hard + 1) == hard
