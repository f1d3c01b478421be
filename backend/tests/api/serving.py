"""A real server in a real process, and what tests ask of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from app.core.settings import ENV_PREFIX
from tests.api import plugin_models
from tests.api.forked import ForkedServer, Running
from tests.ports import free_port

BACKEND = Path(__file__).parents[2]
CHECKPOINTS = BACKEND / "tests" / "conformance" / "vectors"
START_TIMEOUT_S = 600.0
"""The seconds after which a server that is alive, and does not listen, hangs; on a busy machine others are slow too."""
ANSWER_TIMEOUT_S = 120.0
PATIENCE_S = 60.0
"""The seconds for work that takes no time on an idle machine."""
WITHOUT_WEIGHTS = {"DEFAULT_MODEL": "words", "PRELOAD": "default"}
"""Settings of a server that is asked only for models of the plug-in: it listens and is ready at once, since it loads no
checkpoint and imports no torch before it has to."""

Json = dict[str, Any]


def _session() -> requests.Session:
    """A connection for each call: one that is kept may be closed by the server just when it is used again."""
    session = requests.Session()
    session.headers["Connection"] = "close"
    return session


@dataclass
class Server:
    """A running server; a call's path begins below `/api/diffusion`."""

    port: int
    process: Running
    log_file: Path
    session: requests.Session = field(default_factory=_session)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def wait_for_log(self, text: str) -> None:
        """Returns once that has been written: of a request the last line comes after its answer."""
        deadline_s = time.monotonic() + PATIENCE_S
        while text not in self.log:
            assert time.monotonic() < deadline_s, self.log
            time.sleep(0.01)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(f"{self.url}/api/diffusion{path}", timeout=ANSWER_TIMEOUT_S, **options)

    def post(self, path: str, body: Json | None = None, **options: Any) -> requests.Response:
        return self.session.post(f"{self.url}/api/diffusion{path}", json=body, timeout=ANSWER_TIMEOUT_S, **options)

    def answer(self, path: str, body: Json) -> Json:
        """The body of a call that must succeed."""
        response = self.post(path, body)
        assert response.status_code == 200, response.text
        answer: Json = response.json()
        return answer

    def events(self, path: str, body: Json, accept: str = "*/*") -> list[Json]:
        """All events of a stream, in either framing."""
        with self.post(path, body, headers={"Accept": accept}, stream=True) as response:
            assert response.status_code == 200, response.text
            lines = [line for line in response.iter_lines() if line]
        if accept == "text/event-stream":
            lines = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines]

    def statistics(self) -> Json:
        statistics: Json = self.get("/admin/stats").json()
        return statistics

    @contextmanager
    def configured(self, **changes: Any) -> Iterator[None]:
        """The server with some settings changed, for a while."""
        before = self.get("/config").json()
        self.answer("/config", changes)
        try:
            yield
        finally:
            self.answer("/config", {name: before[name] for name in changes})

    def wait_until_ready(self, **options: Any) -> None:
        """Returns once a model is loaded."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while self.get("/admin/health", **options).status_code != 200:
            assert time.monotonic() < deadline_s, self.log
            time.sleep(0.05)

    def wait_until_idle(self, within_s: float = PATIENCE_S) -> Json:
        """The statistics once no request is in flight."""
        return self.wait_for(lambda statistics: statistics["requests_in_flight"] == 0, within_s)

    def wait_for(self, condition: Any, within_s: float = PATIENCE_S) -> Json:
        deadline_s = time.monotonic() + within_s
        while not condition(statistics := self.statistics()):
            assert time.monotonic() < deadline_s, f"not within {within_s} s: {statistics}"
            time.sleep(0.01)
        return statistics

    def raw(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of a request that no client library would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_TIMEOUT_S) as connection:
            connection.sendall(request)
            answer = b""
            while chunk := connection.recv(65_536):
                answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body

    def raw_post(self, path: str, body: bytes, **headers: str) -> tuple[int, Json]:
        """A POST of any bytes; headers replace the usual ones."""
        usual = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{name}: {value}" for name, value in {**usual, **given, "Connection": "close"}.items() if value]
        head = "\r\n".join([f"POST /api/diffusion{path} HTTP/1.1", *lines, "", ""])
        status, answer = self.raw(head.encode() + body)
        return status, json.loads(answer)


def install_plugin(folder: Path) -> Path:
    """Writes the files that `pip install` of a package with these models leaves: a module, and entry points."""
    folder.mkdir()
    source = Path(plugin_models.__file__).read_text(encoding="utf-8")
    (folder / "reynard_test_plugin.py").write_text(source, encoding="utf-8")
    metadata = folder / "reynard_test_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: reynard-test-plugin\nVersion: 1.0\n")
    names = [model.__name__ for model in plugin_models.ALL]
    lines = ["[reynard_diffusion.models]", *(f"{name} = reynard_test_plugin:{name}" for name in names)]
    (metadata / "entry_points.txt").write_text("\n".join([*lines, "not-there = reynard_test_plugin:Absent", ""]))
    return folder


def environment(**settings: str) -> dict[str, str]:
    """The environment of a server: ours without its settings, the small checkpoints, and `settings`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    ours = {
        "DREAMON_PATH": str(CHECKPOINTS / "dreamon-tiny"),
        "LLADA_PATH": str(CHECKPOINTS / "llada-tiny"),
        "DEVICE_PREFERENCE": "cpu",
        **settings,
    }
    return {**inherited, "OMP_NUM_THREADS": "1", **{ENV_PREFIX + name: value for name, value in ours.items()}}


@contextmanager
def serving(
    folder: Path,
    plugin: Path | None = None,
    program: Sequence[str] = (),
    command: Sequence[str] = ("main",),
    **settings: str,
) -> Iterator[Server]:
    """A server of its own, in an empty working directory, until the block ends.

    Args:
        program: what Python runs, from nothing; else `command`, a module and its arguments, is run by a process that
            is forked off one that has imported the server.
    """
    folder.mkdir(exist_ok=True)
    port = free_port()
    variables = environment(PORT=str(port), **settings)
    if plugin is not None:
        variables["PYTHONPATH"] = str(plugin)
    log_file = folder / "server.log"
    server = Server(port, _started(folder, variables, log_file, program, command), log_file)
    try:
        _wait_until_listening(server)
        yield server
    finally:
        server.session.close()
        server.process.terminate()
        server.process.wait(timeout=120)


def _started(
    folder: Path, variables: dict[str, str], log_file: Path, program: Sequence[str], command: Sequence[str]
) -> Running:
    log_file.touch()
    if not program:
        return ForkedServer(folder, variables, log_file, command)
    with log_file.open("wb") as log:
        return subprocess.Popen([sys.executable, *program], cwd=folder, env=variables, stderr=log)


def _wait_until_listening(server: Server) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
        except OSError:
            assert server.process.poll() is None, server.log
            assert time.monotonic() < deadline_s, server.log
            time.sleep(0.02)
        else:
            return
