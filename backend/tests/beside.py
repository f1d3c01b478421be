"""Test files beside each other, in processes that are forked off the one that has collected all tests.

To import what tests need takes ten seconds of work, and to make thousands of tests some more; a forked process has all
of that. A file stays with one process, so its servers are started once.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from itertools import chain, pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, NoReturn

import pytest
from _pytest._io import TerminalWriter

OPTION = "processes"
CAN_FORK = sys.platform == "linux"
"""Elsewhere libraries of the system may not be used after a fork: one process runs all tests."""

Files = list[list[pytest.Item]]

_forking = get_context("fork")


def add_option(parser: pytest.Parser) -> None:
    parser.addoption(f"--{OPTION}", type=int, default=1, help="how many processes run test files beside each other")


def num_processes(config: pytest.Config) -> int:
    return int(config.getoption(OPTION)) if CAN_FORK else 1


def run_beside(session: pytest.Session) -> None:
    """Runs the session's tests, and reports them here as if they had run here."""
    files = _by_file(session.items)
    _prepare(session.config)
    next_file: Synchronized[int] = _forking.Value("i", 0)
    workers = [_Worker(session, files, next_file) for _ in range(min(num_processes(session.config), len(files)))]
    try:
        for worker, message in _messages(workers):
            worker.heed(message)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
    finally:
        for worker in workers:
            worker.stop()


def _by_file(items: list[pytest.Item]) -> Files:
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    return list(files.values())


def _prepare(config: pytest.Config) -> None:
    """Makes the folder for temporary files, which all processes share, and closes the file that captures output, of
    which each opens its own."""
    config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    _capture_manager(config).stop_global_capturing()
    config.pluginmanager.getplugin("terminalreporter").showfspath = False
    gc.collect()
    gc.freeze()


def _capture_manager(config: pytest.Config) -> Any:
    return config.pluginmanager.getplugin("capturemanager")


class _Worker:
    """A test process, seen from the one that reports."""

    def __init__(self, session: pytest.Session, files: Files, next_file: Synchronized[int]) -> None:
        self._session = session
        self._items = {item.nodeid: item for items in files for item in items}
        self._latest, self._has_ended = session.items[0], True
        self.messages, theirs = _forking.Pipe(duplex=False)
        self._process = _forking.Process(target=_work, args=(session, files, next_file, theirs))
        self._process.start()
        theirs.close()

    def heed(self, message: dict[str, Any] | str | None) -> None:
        """Reports what came: the id of a test that begins, a report, or None at the end of the process."""
        hook = self._session.config.hook
        if isinstance(message, dict):
            report = hook.pytest_report_from_serializable(config=self._session.config, data=message)
            hook.pytest_runtest_logreport(report=report)
            if report.when == "teardown":
                self._has_ended = True
                hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
        elif message is not None:
            self._latest, self._has_ended = self._items[message], False
        else:
            self._process.join()
            if self._process.exitcode != 0 or not self._has_ended:
                hook.pytest_runtest_logreport(report=self._report_of_death())

    def _report_of_death(self) -> pytest.TestReport:
        item = self._latest
        told = (
            f"its process ended with exit code {self._process.exitcode}; of {item.path.name}, later tests were not run"
        )
        return pytest.TestReport(item.nodeid, item.location, {}, "failed", told, "call")

    def stop(self) -> None:
        """Lets it put away what its tests have set up, if it has not come to its end, and waits for that."""
        self.messages.close()
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()


def _messages(workers: list[_Worker]) -> Iterator[tuple[_Worker, dict[str, Any] | str | None]]:
    """Their messages, until all have come to their end."""
    running = {worker.messages: worker for worker in workers}
    while running:
        for connection in wait(list(running)):
            assert isinstance(connection, Connection)
            try:
                yield running[connection], connection.recv()
            except EOFError:
                yield running.pop(connection), None


def _work(session: pytest.Session, files: Files, next_file: Synchronized[int], reports: Connection) -> None:
    """Is a test process: runs one file after the other that no other process has begun."""
    signal.signal(signal.SIGTERM, _interrupt)
    plugins = session.config.pluginmanager
    _mute(plugins.getplugin("terminalreporter"))
    plugins.register(_Reporting(session.config, reports))
    _capture_manager(session.config).start_global_capturing()
    try:
        for item, next_item in pairwise(chain(_mine(files, next_file), [None])):
            assert item is not None
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=next_item)
    except (KeyboardInterrupt, BrokenPipeError):
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        session._setupstate.teardown_exact(None)


def _mute(terminal: Any) -> None:
    """Lets this process write nothing to the terminal; failed comparisons still ask it how to be highlighted."""
    terminal._tw = TerminalWriter(open(os.devnull, "w"))  # noqa: SIM115 - for as long as the process runs


def _mine(files: Files, next_file: Synchronized[int]) -> Iterator[pytest.Item]:
    while True:
        with next_file.get_lock():
            number, next_file.value = next_file.value, next_file.value + 1
        if number >= len(files):
            return
        yield from files[number]


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


class _Reporting:
    """Sends what the hooks say of the tests of this process to the one that reports."""

    def __init__(self, config: pytest.Config, reports: Connection) -> None:
        self._config, self._reports = config, reports

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._reports.send(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.send(self._config.hook.pytest_report_to_serializable(config=self._config, report=report))
