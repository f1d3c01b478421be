"""Servers forked off a process that has imported the whole program, since the import takes most of a start.

After the fork they are what `python main.py` is: settings from the environment, a working directory, signals, an exit
code. The start from nothing is tested in `test_start.py`.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import forkserver, get_context
from pathlib import Path
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

    def __init__(self, folder: Path, variables: Mapping[str, str], log_file: Path, module: str = "main") -> None:
        """Starts what `python -m MODULE` starts."""
        _start_forkserver(variables)
        self._process = _forking.Process(target=_serve, args=(folder, dict(variables), log_file, module))
        self._process.start()

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


def _serve(folder: Path, variables: Mapping[str, str], log_file: Path, module: str) -> None:
    """Becomes the server."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    with log_file.open("wb") as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
    sys.path[:0] = [*variables.get("PYTHONPATH", "").split(os.pathsep), str(BACKEND)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
