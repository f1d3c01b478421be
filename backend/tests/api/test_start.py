"""Starting and stopping: what a wrong setting does, how soon the server listens, how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.api.forked import ForkedServer
from tests.api.serving import BACKEND, Json, Server, environment, serving

STARTED_IN_BACKGROUND = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, {str(BACKEND / "main.py")!r}])
"""


MAIN = (str(BACKEND / "main.py"),)


def start(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BACKEND / "main.py")]
    return subprocess.run(command, cwd=folder, env=environment(**settings), capture_output=True, text=True, timeout=120)


def refusal(folder: Path, **settings: str) -> tuple[int, str]:
    """The exit code and the standard error of a server that does not start, forked off one that is imported."""
    log = folder / "server.log"
    return ForkedServer(folder, environment(**settings), log).wait(timeout=120), log.read_text(encoding="utf-8")


def test_a_start_from_nothing_that_is_refused_says_so_on_standard_error_alone(tmp_path: Path) -> None:
    done = start(tmp_path, PORT="0")
    line = "DIFFUSION_PORT='0' is not allowed; allowed: greater than or equal to 1\n"
    assert (done.returncode, done.stderr, done.stdout) == (2, line, "")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"PORT": "0"}, "DIFFUSION_PORT='0' is not allowed; allowed: greater than or equal to 1"),
        (
            {"HOST": "127..0.0.1"},
            "DIFFUSION_HOST='127..0.0.1' is not allowed; allowed: an address or the name of a host",
        ),
        ({"DEVICE_PREFERENCE": "gpu"}, "DIFFUSION_DEVICE_PREFERENCE='gpu' is not allowed; allowed: auto, cpu, cuda, "),
        ({"DEFAULT_MODEL": "gpt"}, "DIFFUSION_DEFAULT_MODEL='gpt' is not allowed; allowed: dreamon, llada"),
        ({"EXTRA_MODELS": "mine"}, "DIFFUSION_EXTRA_MODELS: extra_models: 'mine' is not of the form"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(tmp_path: Path, settings: dict[str, str], line: str) -> None:
    code, said = refusal(tmp_path, **settings)
    assert code == 2
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_a_wrong_line_in_the_env_file_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DIFFUSION_TOP_K=lots\n")
    code, said = refusal(tmp_path)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("DIFFUSION_TOP_K='lots' is not allowed")


def test_a_port_that_is_taken_is_named(tmp_path: Path, server: Server) -> None:
    code, said = refusal(tmp_path, PORT=str(server.port))
    assert code == 1
    assert "Traceback" not in said
    assert str(server.port) in said
    assert "address already in use" in said


def test_a_request_that_comes_before_its_model_waits_for_it_and_a_signal_stops_the_server(tmp_path: Path) -> None:
    with serving(tmp_path / "early", program=MAIN, NO_SUCH="1") as early:
        assert early.get("/models").status_code == 200
        answer = early.answer("/generate", {"text": "x", "max_length": 1})
        assert answer["model_id"] == "dreamon"
        assert early.get("/admin/health").json()["status"] == "healthy"
        assert "DIFFUSION_NO_SUCH is not a setting of this version" in early.log
        check_stop(early, signal.SIGTERM)


def test_a_checkpoint_that_cannot_be_loaded_leaves_the_others(tmp_path: Path) -> None:
    with serving(tmp_path / "broken", DREAMON_PATH=str(tmp_path / "no-such-folder")) as broken:
        answer = broken.answer("/generate", {"text": "x", "max_length": 1})
        health = broken.get("/admin/health")
    assert answer["model_id"] == "llada"
    assert answer["metadata"]["requested_model"] == "dreamon"
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert "no-such-folder" in health.json()["models"]["dreamon"]["detail"]


def test_no_checkpoint_at_all_is_unhealthy(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    with serving(tmp_path / "none", DREAMON_PATH=absent, LLADA_PATH=absent) as none:
        response = none.post("/generate", {"text": "x"})
        health = none.get("/admin/health")
    assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")
    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    assert int(health.headers["retry-after"]) > 0


def test_it_stops_while_it_loads_and_where_it_was_started_to_ignore_interrupts(tmp_path: Path) -> None:
    with serving(tmp_path / "stopped", program=("-c", STARTED_IN_BACKGROUND)) as stopped:
        check_stop(stopped, signal.SIGINT)


def test_requests_that_run_get_an_answer(tmp_path: Path, plugin: Path) -> None:
    """Requests that finish in time give their text; the others are ended with an error."""
    body: Json = {"text": "x", "model_id": "endless"}
    with serving(tmp_path / "stopped", plugin) as stopped, ThreadPoolExecutor(3) as pool:
        stopped.wait_until_ready()
        stream = pool.submit(stopped.events, "/generate/stream", body)
        plain = pool.submit(stopped.post, "/generate", body)
        quick = pool.submit(stopped.answer, "/generate", {"text": "x", "model_id": "llada", "max_length": 16})
        # Where the quick one is through before it is seen, two are in flight.
        stopped.wait_for(lambda now: now["requests_in_flight"] + now["successful_requests"] == 3)
        check_stop(stopped, signal.SIGTERM)
        assert stream.result()[-1]["metadata"]["code"] == "cancelled"
        assert (plain.result().status_code, plain.result().json()["code"]) == (503, "cancelled")
        assert quick.result()["success"]


def check_stop(running: Server, signum: signal.Signals) -> None:
    before = len(running.log)
    running.process.send_signal(signum)
    running.process.wait(timeout=120)
    assert "Finished server process" in running.log[before:]
    assert "Traceback" not in running.log[before:]
