"""The setup of all tests: their order, their number of examples, and an environment without the user's settings."""

from __future__ import annotations

import gc

import pytest

from tests.profiles import is_thorough, register_profiles
from tests.rewriting import import_own_share
from tests.signals import heed_in_children
from tests.surroundings import forget_surroundings
from tests.threads import share_cores
from tests.timings import lines_by_folder, place_in_order

register_profiles()
heed_in_children()
forget_surroundings()
share_cores()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if item.get_closest_marker("thorough") and not is_thorough()]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=place_in_order)


def pytest_sessionstart(session: pytest.Session) -> None:
    gc.disable()  # until all is imported, of which nothing is garbage
    import_own_share(session.config)


def pytest_collection_finish() -> None:
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _nothing_old_is_looked_at() -> None:
    """Hides what is there before the tests of a file, some millions of objects, from the garbage collector. Each model
    that is loaded or closed makes it look at everything, which took a third of the time of the tests that do so."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("seconds by folder")
    told = (report for reports in terminalreporter.stats.values() for report in reports)
    whole = (report for report in told if type(report) is pytest.TestReport)  # and no part of a test's time again
    for line in lines_by_folder(whole):
        terminalreporter.write_line(line)
