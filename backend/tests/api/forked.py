"""Servers and commands forked off a process that has imported the whole program: the import takes most of a start.

After the fork they are what `python -m` starts: settings from the environment, a working directory, standard streams,
signals, an exit code. Starts from nothing are tested in `test_start.py` and, in pipes and terminals, in `test_cli.py`.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

IMPORTED = [
    "app.server",
    "app.services.diffusion.native",
    "app.engine.thread",
    "onnx.helper",
    "onnx.numpy_helper",
    "onnxruntime",
    "tests.api.settled",
]
"""The modules that a server imports until its first answer."""

BACKEND = Path(__file__).parents[2]

PATIENCE_S = 120.0
STDIN, STDOUT, STDERR = range(3)

_forking = get_context("forkserver")


class Running(Protocol):
    """A running program for tests, with the methods of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class ForkedServer:
    """A server process of its own; `subprocess.Popen` as far as tests ask."""

    def __init__(
        self, folder: Path, variables: Mapping[str, str], log_file: Path, command: Sequence[str] = ("main",)
    ) -> None:
        """Starts what `python -m COMMAND` starts."""
        self._process = _started(folder, variables, {STDERR: log_file}, command)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("the server", timeout or 0)
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_forked(
    *command: str, folder: Path, variables: Mapping[str, str], given: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """The output and the exit code of `python -m COMMAND`, given these bytes on standard input."""
    with TemporaryDirectory() as aside:
        streams = {number: Path(aside, str(number)) for number in (STDIN, STDOUT, STDERR)}
        streams[STDIN].write_bytes(given)
        process = _started(folder, variables, streams, command)
        process.join(PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, PATIENCE_S)
        said = [streams[number].read_bytes().decode() for number in (STDOUT, STDERR)]
    return subprocess.CompletedProcess(command, process.exitcode, *said)


def _started(
    folder: Path, variables: Mapping[str, str], streams: Mapping[int, Path], command: Sequence[str]
) -> ForkServerProcess:
    _start_forkserver(variables)
    process = _forking.Process(target=_become, args=(folder, dict(variables), dict(streams), list(command)))
    process.start()
    return process


def _start_forkserver(variables: Mapping[str, str]) -> None:
    """Starts it unless it runs. Libraries read how many threads they may have when they are imported."""
    _forking.set_forkserver_preload(IMPORTED)
    inherited = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = variables["OMP_NUM_THREADS"]
    forkserver.ensure_running()
    if inherited is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = inherited


def _become(folder: Path, variables: Mapping[str, str], streams: Mapping[int, Path], command: list[str]) -> None:
    """Becomes the program: its standard streams, by number, are files."""
    for number, path in streams.items():
        file = os.open(path, os.O_RDONLY if number == STDIN else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(STDIN, closefd=False)  # noqa: SIM115 - for as long as the program runs
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:0] = [*variables.get("PYTHONPATH", "").split(os.pathsep), str(BACKEND)]
    sys.argv = list(command)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
