"""Small test runs of their own, in two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.api.serving import BACKEND
from tests.beside import CAN_FORK

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="one process runs all tests here")

SETUP = """
import os, time
from pathlib import Path
import pytest
from tests.beside import add_option as pytest_addoption, run_beside

HERE = Path(__file__).parent

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    run_beside(session)
    return True

def wait_for(name):
    deadline_s = time.monotonic() + 60
    while not (HERE / name).exists():
        assert time.monotonic() < deadline_s, name
        time.sleep(0.01)

@pytest.fixture(scope="session", autouse=True)
def put_away():
    (HERE / f"{os.getpid()}.up").touch()
    yield
    (HERE / f"{os.getpid()}.down").touch()
"""
BEGINNING = "import os, pytest\nfrom conftest import HERE, wait_for\n"
ONE = """
def test_a(tmp_path):
    (HERE / "one").touch()
    wait_for("two")
def test_b():
    print("said by b")
    assert [1] == [2]
"""
TWO = """
def test_c(tmp_path):
    (HERE / "two").touch()
    wait_for("one")
def test_d():
    pytest.skip("not today")
"""


def started(folder: Path, *files: str) -> subprocess.Popen[str]:
    (folder / "conftest.py").write_text(SETUP)
    for number, text in enumerate(files):
        (folder / f"test_{number}.py").write_text(BEGINNING + text)
    command = [sys.executable, "-m", "pytest", "-ra", "--processes", "2", "-p", "no:cacheprovider"]
    variables = {**os.environ, "PYTHONPATH": str(BACKEND), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    variables.pop("PYTEST_ADDOPTS", None)
    return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True)


def count(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))


def test_two_files_run_at_once_and_each_test_is_reported_once(tmp_path: Path) -> None:
    run = started(tmp_path, ONE, TWO)
    told, _ = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "1 failed, 2 passed, 1 skipped" in told
    for part in ("FAILED test_0.py::test_b", "At index 0 diff: 1 != 2", "said by b", "not today"):
        assert part in told
    assert (count(tmp_path, "*.up"), count(tmp_path, "*.down")) == (2, 2)


def test_a_process_that_ends_in_a_test_is_a_failure_and_the_other_goes_on(tmp_path: Path) -> None:
    run = started(tmp_path, "def test_a(): os._exit(0)\ndef test_b(): pass", "def test_c(): wait_for('conftest.py')")
    told, _ = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "1 failed, 1 passed" in told
    assert "its process ended with exit code 0; of test_0.py, later tests were not run" in told


def test_who_interrupts_leaves_nothing_behind(tmp_path: Path) -> None:
    waiting = "def test_{0}():\n    (HERE / 'begun{0}').touch()\n    wait_for('never')"
    run = started(tmp_path, waiting.format("a"), "def test_b(): pass", waiting.format("c"))
    try:
        while count(tmp_path, "begun*") < 2:
            assert run.poll() is None
            time.sleep(0.01)
    finally:
        run.send_signal(signal.SIGINT)
        told, _ = run.communicate(timeout=120)
    assert run.returncode == 2
    assert "KeyboardInterrupt" in told
    assert (count(tmp_path, "*.up"), count(tmp_path, "*.down")) == (2, 2)
