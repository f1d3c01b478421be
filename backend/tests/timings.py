"""The times of the tests by folder, and their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import pytest

LONGEST_FIRST = (
    "tests/ray/test_cluster.py",
    "tests/unit/training/test_quick.py",
    "tests/soak/test_soak.py",
    "tests/browser/test_playground.py",
    "tests/api/test_faults.py",
    "tests/unit/engine/test_recovery.py",
    "tests/unit/services/diffusion/native/test_native.py",
    "tests/unit/training/test_shipped.py",
    "tests/api/test_start.py",
    "tests/api/test_cli.py",
    "tests/api/test_logs.py",
    "tests/api/test_worst_day.py",
    "tests/docs/test_pages.py",
    "tests/unit/engine/test_moves.py",
    "tests/api/test_slow_clients.py",
    "tests/browser/test_accessibility.py",
    "tests/unit/engine/test_thread.py",
    "tests/api/test_schema.py",
)
"""The files that take long; begun last, one would run while the other test processes have nothing to do."""


def place_in_order(item: pytest.Item) -> int:
    """The key to sort tests by: long files come first; the order within files and of all others stays."""
    file = item.nodeid.partition("::")[0]
    return LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)


def lines_by_folder(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """The lines, one per folder, with the seconds of its tests and fixtures in all test processes."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        seconds[_folder_of(report.nodeid)] += report.duration
    longest_first = sorted(seconds.items(), key=lambda item: -item[1])
    return (f"{taken_s:8.1f} s  {folder}" for folder, taken_s in longest_first)


def _folder_of(node_id: str) -> str:
    """The folder, such as `tests/api`; for unit tests with one level more."""
    folders = PurePosixPath(node_id.partition("::")[0]).parent.parts
    return "/".join(folders[: 3 if "unit" in folders else 2])
