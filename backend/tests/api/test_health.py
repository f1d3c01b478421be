"""The probes of a real server."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import requests

from tests.api.serving import WITHOUT_WEIGHTS, Server, serving


def probe(server: Server, name: str) -> requests.Response:
    return requests.get(f"{server.url}/health/{name}", timeout=60)


def test_a_server_that_answers_is_alive_and_ready(server: Server) -> None:
    assert (probe(server, "live").status_code, probe(server, "live").json()) == (200, {"status": "alive"})
    assert (probe(server, "ready").status_code, probe(server, "ready").json()) == (200, {"status": "ready"})


def test_a_disabled_one_is_alive_and_not_ready(server: Server) -> None:
    with server.configured(enabled=False):
        ready = probe(server, "ready")
        assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
        assert ready.json()["detail"] == "the service is disabled"
        assert int(ready.headers["retry-after"]) > 0
        assert probe(server, "live").status_code == 200
    assert probe(server, "ready").status_code == 200


def test_one_without_a_model_says_so(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    with serving(tmp_path / "none", DREAMON_PATH=absent, LLADA_PATH=absent) as none:
        while (ready := probe(none, "ready")).json()["detail"] != "no model is available":
            assert ready.status_code == 503
        assert "absent" not in ready.text
        assert probe(none, "live").status_code == 200


def test_one_that_stops_is_not_ready_any_more(tmp_path: Path, plugin: Path) -> None:
    """It says so until it no longer listens, which may be too soon to be asked."""
    with serving(tmp_path / "stopping", plugin, **WITHOUT_WEIGHTS) as stopping:
        stopping.wait_until_ready()
        with stopping.post("/generate/stream", {"text": "x", "model_id": "endless"}, stream=True) as stream:
            lines = stream.iter_lines()
            next(lines)
            stopping.process.send_signal(signal.SIGTERM)
            statuses = []
            with suppress(requests.ConnectionError):
                while True:
                    statuses.append(probe(stopping, "ready").status_code)
            assert statuses == sorted(statuses)
            assert b'"error"' in list(lines)[-1]
