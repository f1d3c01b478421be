from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.serving import Server, serving
from tests.clients.environments import FOLDER
from tests.clients.table import Outcome, lines, rows


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    """Collects what a client has left open in its own test, where warnings of it are passed over."""
    yield
    gc.collect()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the small checkpoints. It starts with the first test whose client is installed."""
    with serving(tmp_path_factory.mktemp("clients") / "folder", DEFAULT_MODEL="llada", PRELOAD="default") as running:
        running.wait_until_ready()
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what came of each client, where there are environments of clients."""
    if (folder := os.environ.get(FOLDER)) is None:
        return
    words = ("passed", "failed", "error", "skipped")
    outcomes = [Outcome(each.nodeid, word) for word in words for each in terminalreporter.stats.get(word, ())]
    terminalreporter.section("clients")
    for line in lines(rows(Path(folder), outcomes)):
        terminalreporter.write_line(line)
