"""How examples are made up here: the same in every run, so that what is red once is red everywhere."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

HANGS_AFTER_MS = 10_000
"""A reader that takes seconds for a small input hangs, however busy the machine is."""

fuzzed = settings(
    derandomize=True,
    database=None,
    deadline=HANGS_AFTER_MS,
    # Where a folder is given, each example replaces the damaged file of the one folder that its test copied.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
