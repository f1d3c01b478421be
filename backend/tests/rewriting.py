"""Assertions of the tests are rewritten once for all test processes, which share what is compiled."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def import_own_share(config: pytest.Config) -> None:
    """Imports every n-th of the test files that are asked for, if this is one of n test processes.

    All processes import all files, in the same order: begun at the same time, each would find no file compiled and do
    it itself, nine seconds of work. A file that cannot be imported is reported when its turn comes.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return
    files = list(_files_under([Path(arg.partition("::")[0]).resolve() for arg in config.args]))
    for file in files[int(worker.removeprefix("gw")) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]:
        with suppress(Exception, pytest.skip.Exception):
            import_module(".".join(file.relative_to(TESTS.parent).with_suffix("").parts))


def _files_under(folders: list[Path]) -> Iterator[Path]:
    for file in sorted(TESTS.rglob("test_*.py")):
        if any(folder in (file, *file.parents) for folder in folders):
            yield file
