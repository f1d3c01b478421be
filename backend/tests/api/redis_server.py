"""A real Redis in a real process, for as long as a test needs it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotConnected

from tests.ports import free_port

PASSWORD = "redis-password"
START_TIMEOUT_S = 600.0


@dataclass
class RedisServer:
    """Can be stopped and started again, on the same port; it keeps nothing."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "requirepass": PASSWORD, "dir": self.folder}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        self.process = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self.process.poll() is None, "redis-server has ended"
            assert time.monotonic() < deadline_s, f"redis-server does not answer within {START_TIMEOUT_S} s"
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=120)
            self.process = None

    def names(self) -> list[str]:
        """The names of everything that is stored."""
        with Redis.from_url(self.url) as client:
            return [name.decode() for name in client.scan_iter()]

    def _answers(self) -> bool:
        with Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except NotConnected:
                return False


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server; get it with: apt-get install redis-server, or brew install redis")
    redis = RedisServer(folder)
    try:
        redis.start()
        yield redis
    finally:
        redis.stop()
