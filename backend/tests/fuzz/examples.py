"""Strategies that make up the examples of these tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.profiles import UNHURRIED

HANGS_AFTER_MS = 60_000
"""A reader that takes a minute for a small input hangs, however busy the machine is."""

fuzzed = settings(
    deadline=HANGS_AFTER_MS,
    # Where a folder is given, each example replaces the damaged file of the one folder that its test copied.
    suppress_health_check=[*UNHURRIED.suppress_health_check, HealthCheck.function_scoped_fixture],
)
