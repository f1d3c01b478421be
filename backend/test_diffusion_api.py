"""Smoke test of a running server: `python test_diffusion_api.py`.

Asks the server at DIFFUSION_URL (default http://localhost:8000) every endpoint once and prints a line for each. Starts
a server of its own when none runs there. The exit code is 0 when everything works, otherwise 1. Needs nothing but
Python's own library; set DIFFUSION_ADMIN_TOKEN where the server has one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

URL = os.environ.get("DIFFUSION_URL", "http://localhost:8000").rstrip("/")
API = f"{URL}/api/diffusion"
TOKEN = os.environ.get("DIFFUSION_ADMIN_TOKEN", "")
BACKEND = Path(__file__).resolve().parent
START_TIMEOUT_S = 120
ANSWER_TIMEOUT_S = 600

# pytest would take the functions below for tests of its own; this file is a program.
__test__ = False


def call(method: str, path: str, body: dict[str, Any] | None = None, accept: str = "*/*") -> tuple[int, str]:
    """Status and body of one call; an error status is an answer like any other."""
    headers = {"Content-Type": "application/json", "Accept": accept}
    if TOKEN:
        headers["Authorization"] = f"Bearer {TOKEN}"
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(API + path, data, headers, method=method), timeout=ANSWER_TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def ask(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON of a call that must succeed."""
    status, text = call(method, path, body)
    expect(status == 200, f"status {status}: {text[:300]}")
    answer: dict[str, Any] = json.loads(text)
    return answer


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def check_models() -> str:
    model_ids = [model["model_id"] for model in ask("GET", "/models")["models"]]
    expect({"dreamon", "llada"} <= set(model_ids), f"only these: {model_ids}")
    return ", ".join(model_ids)


def check_generate() -> str:
    answer = ask("POST", "/generate", {"text": "Once upon a time", "max_length": 16})
    expect(answer["success"], f"no success: {answer}")
    return f"{answer['tokens_generated']} tokens by {answer['model_id']} in {answer['processing_time']:.2f} s"


def check_infill() -> str:
    body = {"prefix": "The quick brown fox", "suffix": "over the lazy dog.", "model_id": "llada", "max_length": 8}
    answer = ask("POST", "/infill", body)
    expect(answer["success"], f"no success: {answer}")
    return f"{answer['tokens_generated']} tokens by {answer['model_id']} in {answer['processing_time']:.2f} s"


def check_generate_stream() -> str:
    body = {"text": "Once upon a time", "max_length": 16, "seed": 1}
    status, lines = call("POST", "/generate/stream", body)
    expect(status == 200, f"status {status}: {lines[:300]}")
    return _check_events([json.loads(line) for line in lines.split("\n") if line], "/generate", body, "generated_text")


def check_infill_stream() -> str:
    body = {"prefix": "def add(a, b):", "suffix": "return total", "max_length": 8, "seed": 1}
    status, text = call("POST", "/infill/stream", body, accept="text/event-stream")
    expect(status == 200, f"status {status}: {text[:300]}")
    data = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return _check_events([json.loads(line) for line in data], "/infill", body, "infilled_text")


def _check_events(events: list[dict[str, Any]], path: str, body: dict[str, Any], text_field: str) -> str:
    kinds = [event["type"] for event in events]
    expect(kinds[0] == "start" and kinds[-1] == "complete", f"the stream went {kinds}: {events[-1]}")
    streamed = "".join(event["data"] for event in events if event["type"] == "token")
    expect(streamed == ask("POST", path, body)[text_field], "streamed and plain text differ")
    return f"{len(events)} events, the same text as without streaming"


def check_config() -> str:
    configuration = ask("GET", "/config")
    changed = ask("POST", "/config", {"top_k": configuration["top_k"]})
    expect(changed["configuration"] == configuration, "an update to the same value changed something")
    return f"{len(configuration)} settings"


def check_stats() -> str:
    stats = ask("GET", "/admin/stats")
    ended = stats["successful_requests"] + stats["failed_requests"] + stats["cancelled_requests"]
    expect(stats["total_requests"] == ended + stats["requests_in_flight"], f"the counters do not add up: {stats}")
    return f"{stats['total_requests']} requests, error rate {stats['error_rate']} %"


def check_health() -> str:
    health = ask("GET", "/admin/health")
    return str(health["status"])


def check_model_details() -> str:
    models = [model for model in ask("GET", "/admin/models")["models"] if model["is_available"]]
    expect(bool(models), "no model is available")
    return ", ".join(f"{model['model_id']} on {model['device']}" for model in models)


def check_reload() -> str:
    model = ask("POST", "/admin/models/dreamon/reload")["model"]
    expect(model["is_available"], f"not available after the reload: {model}")
    return f"{model['model_id']} in {model['load_time']} s"


def check_cleanup() -> str:
    report = ask("POST", "/admin/cleanup")
    return f"{report['freed_bytes'] / 1e6:.1f} MB came back"


def check_validation() -> str:
    status, text = call("POST", "/generate", {"text": "a", "max_length": 5000})
    expect(status == 422, f"status {status} instead of 422: {text[:300]}")
    return str(json.loads(text)["detail"])


CHECKS: dict[str, Callable[[], str]] = {
    "GET /models": check_models,
    "POST /generate": check_generate,
    "POST /generate/stream": check_generate_stream,
    "POST /infill": check_infill,
    "POST /infill/stream": check_infill_stream,
    "GET, POST /config": check_config,
    "GET /admin/stats": check_stats,
    "GET /admin/health": check_health,
    "GET /admin/models": check_model_details,
    "POST /admin/models/dreamon/reload": check_reload,
    "POST /admin/cleanup": check_cleanup,
    "a value out of bounds": check_validation,
}


def run_checks() -> int:
    """Runs all of them, whatever fails; returns how many did."""
    failed = 0
    for name, check in CHECKS.items():
        try:
            print(f"ok    {name}: {check()}", flush=True)
        except (AssertionError, KeyError, ValueError, OSError) as error:
            failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return failed


def answers() -> bool:
    try:
        return call("GET", "/models")[0] == 200
    except (URLError, ConnectionError, TimeoutError):
        return False


@contextmanager
def server() -> Iterator[None]:
    """The server that runs already, or one of our own for as long as the checks last."""
    if answers():
        print(f"using the server at {URL}")
        yield
        return
    if "DIFFUSION_URL" in os.environ:
        raise SystemExit(f"no server answers at {URL}")
    print("no server runs; starting one")
    environment = {**os.environ, "DIFFUSION_PORT": str(urlsplit(URL).port)}
    process = subprocess.Popen([sys.executable, "main.py"], cwd=BACKEND, env=environment)
    try:
        _wait_for(process)
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not answers():
        if process.poll() is not None:
            raise SystemExit("the server did not start")
        if time.monotonic() > deadline_s:
            raise SystemExit(f"the server did not answer within {START_TIMEOUT_S} s")
        time.sleep(0.2)


def main() -> int:
    with server():
        return 1 if run_checks() else 0


if __name__ == "__main__":
    sys.exit(main())
