from __future__ import annotations

import subprocess
import sys

from tests.api.serving import BACKEND

STARTED_IN_BACKGROUND = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
PROGRAM = """
import signal, subprocess
from tests.signals import heed_in_children

heed_in_children()
for each in (signal.SIGINT, signal.SIGTERM):
    signal.raise_signal(each)
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    child.send_signal(each)
    print(child.wait(timeout=60) == -each, flush=True)
"""


def test_children_receive_signals_that_their_parent_ignores() -> None:
    command = [sys.executable, "-c", STARTED_IN_BACKGROUND, PROGRAM]
    done = subprocess.run(command, cwd=BACKEND, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True\nTrue\n"), done.stderr
