"""The setup of all tests: order, processes, numbers of examples, and an environment without the user's settings."""

from __future__ import annotations

import gc

import pytest

from tests.beside import add_option, num_processes, run_beside
from tests.profiles import is_thorough, register_profiles
from tests.signals import heed_in_children
from tests.surroundings import forget_surroundings
from tests.threads import share_cores
from tests.timings import lines_by_folder, place_in_order

register_profiles()
heed_in_children()
forget_surroundings()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    share_cores(num_processes(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if item.get_closest_marker("thorough") and not is_thorough()]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=place_in_order)


def pytest_sessionstart() -> None:
    gc.disable()  # until all is imported, of which nothing is garbage


def pytest_collection_finish() -> None:
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """True if test processes have run the tests."""
    if num_processes(session.config) < 2 or session.testsfailed or session.config.option.collectonly:
        return None
    run_beside(session)
    return True


@pytest.fixture(scope="module", autouse=True)
def _nothing_old_is_looked_at() -> None:
    """Hides what is there before the tests of a file, some millions of objects, from the garbage collector. Each model
    that is loaded or closed makes it look at everything, which took a third of the time of the tests that do so."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("seconds by folder")
    told = (report for reports in terminalreporter.stats.values() for report in reports)
    for line in lines_by_folder(report for report in told if isinstance(report, pytest.TestReport)):
        terminalreporter.write_line(line)
