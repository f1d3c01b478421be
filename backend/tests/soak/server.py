"""The server under test: its process, its memory, its log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.api.serving import BACKEND, environment, install_plugin
from tests.ports import free_port

STOP_TIMEOUT_S = 120.0

SETTINGS = {
    "DREAMON_PATH": "",  # the embedded checkpoints
    "LLADA_PATH": "",
    "DEVICE_PREFERENCE": "auto",
    "LOG_FORMAT": "json",
    "TIMEOUT_SECONDS": "30",
    "MAX_QUEUED_REQUESTS": "10",
    "CLIENT_TIMEOUT_SECONDS": "5",
}


@dataclass(frozen=True, slots=True)
class Process:
    """A server in a process of its own."""

    port: int
    pid: int
    log_file: Path
    popen: subprocess.Popen[bytes]

    def memory_bytes(self) -> tuple[int, int]:
        """The resident memory of the process, with mapped files and, on Linux, without."""
        info = psutil.Process(self.pid).memory_info()
        return info.rss, info.rss - getattr(info, "shared", 0)

    def num_files(self) -> int:
        """The number of open files of the process, including connections."""
        return psutil.Process(self.pid).num_fds()

    def num_threads(self) -> int:
        return psutil.Process(self.pid).num_threads()

    def ends(self) -> dict[str, list[str]]:
        """The outcomes in the log per request id, without refusals; there is one each, if all is well."""
        found: dict[str, list[str]] = defaultdict(list)
        for line in self.log_file.read_text(encoding="utf-8").splitlines():
            if '"outcome"' in line:
                record = json.loads(line)
                if record["outcome"] != "refused":  # in no total, so that it does not matter who noticed the mistake
                    found[record["request_id"]].append(record["outcome"])
        return found

    def unexpected_errors(self) -> list[str]:
        """The messages in the log that no traffic may cause."""
        marks = ("unexpected error", "Exception in ASGI application", "never retrieved", "background task", "Unclosed")
        lines = self.log_file.read_text(encoding="utf-8").splitlines()
        return [line[:500] for line in lines if any(mark in line for mark in marks)]


@contextmanager
def running(folder: Path, faults: str = "") -> Iterator[Process]:
    """A server until the block ends, with the plug-in models that break.

    Args:
        faults: when its device runs out of memory, see `tests.faults`; empty: a server without faults.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, log_file = free_port(), folder / "server.log"
    with log_file.open("wb") as log:
        popen = subprocess.Popen(
            [sys.executable, "-m", "tests.faults"] if faults else [sys.executable, str(BACKEND / "main.py")],
            cwd=folder,
            env=_variables(folder, port, faults),
            stderr=log,
        )
    try:
        yield Process(port, popen.pid, log_file, popen)
    finally:
        popen.terminate()
        popen.wait(timeout=STOP_TIMEOUT_S)


def _variables(folder: Path, port: int, faults: str) -> dict[str, str]:
    plugin = folder / "site-packages"
    if not plugin.exists():
        install_plugin(plugin)
    variables = environment(PORT=str(port), **SETTINGS)
    variables["PYTHONPATH"] = f"{plugin}:{BACKEND}"
    variables["FAULTS"] = faults
    return variables
