"""Smoke test of a running server: `python test_diffusion_api.py`.

Asks the server at --url (or DIFFUSION_URL; default http://localhost:8000) every endpoint once and prints a line for
each. Starts a server of its own when none runs there. The exit code is 0 when everything works, otherwise 1. Where the
server wants them, give it an API key (--api-key or DIFFUSION_API_KEY) and the admin token (--admin-token or
DIFFUSION_ADMIN_TOKEN).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from reynard_diffusion import (
    DEFAULT_URL,
    DiffusionClient,
    DiffusionError,
    DiffusionStreamEvent,
    GenerationResult,
    InvalidRequest,
    ServerUnreachable,
)
from reynard_diffusion.typed_json import typed

BACKEND = Path(__file__).resolve().parent
START_TIMEOUT_S = 120
ANSWER_TIMEOUT_S = 600

# pytest would take the functions below for tests of its own; this file is a program.
__test__ = False


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


class Checks:
    """The checks, a method for each endpoint, which returns a remark or raises."""

    def __init__(self, client: DiffusionClient, options: argparse.Namespace) -> None:
        self.client = client
        self.options = options

    def models(self) -> str:
        model_ids = [model.model_id for model in self.client.models()]
        expect({"dreamon", "llada"} <= set(model_ids), f"only these: {model_ids}")
        return ", ".join(model_ids)

    def generate(self) -> str:
        return _told(self.client.generate("Once upon a time", max_length=16))

    def infill(self) -> str:
        return _told(self.client.infill("The quick brown fox", "over the lazy dog.", model_id="llada", max_length=8))

    def generate_stream(self) -> str:
        """Streams as lines of JSON, which the client itself does not use."""
        body = {"text": "Once upon a time", "max_length": 16, "seed": 1}
        answer = httpx.post(
            f"{self.options.url}/api/diffusion/generate/stream",
            json=body,
            headers={"Authorization": f"Bearer {self.options.api_key}"} if self.options.api_key else {},
            timeout=ANSWER_TIMEOUT_S,
        )
        expect(answer.status_code == 200, f"status {answer.status_code}: {answer.text[:300]}")
        events = [typed(DiffusionStreamEvent, json.loads(line)) for line in answer.iter_lines() if line]
        return _checked(events, self.client.generate("Once upon a time", max_length=16, seed=1))

    def infill_stream(self) -> str:
        """Streams as Server-Sent Events."""
        events = list(self.client.infill_stream("def add(a, b):", "return total", max_length=8, seed=1))
        return _checked(events, self.client.infill("def add(a, b):", "return total", max_length=8, seed=1))

    def config(self) -> str:
        configuration = self.client.config()
        changed = self.client.configure(top_k=configuration["top_k"])
        expect(changed.configuration == configuration, "an update to the same value changed something")
        return f"{len(configuration)} settings"

    def stats(self) -> str:
        stats = self.client.stats()
        ended = stats.successful_requests + stats.failed_requests + stats.cancelled_requests
        expect(stats.total_requests == ended + stats.requests_in_flight, f"the counters do not add up: {stats}")
        return f"{stats.total_requests} requests, error rate {stats.error_rate} %"

    def health(self) -> str:
        return self.client.health().status

    def model_details(self) -> str:
        models = [model for model in self.client.model_details() if model.is_available]
        expect(bool(models), "no model is available")
        return ", ".join(f"{model.model_id} on {model.device}" for model in models)

    def reload(self) -> str:
        model = self.client.reload("dreamon")
        expect(model.is_available, f"not available after the reload: {model}")
        return f"{model.model_id} in {model.load_time} s"

    def cleanup(self) -> str:
        return f"{self.client.cleanup().freed_bytes / 1e6:.1f} MB came back"

    def validation(self) -> str:
        try:
            self.client.generate("a", max_length=5000)
        except InvalidRequest as error:
            expect(error.status == 422, f"status {error.status} instead of 422: {error}")
            return str(error)
        raise AssertionError("max_length=5000 was allowed")

    def all(self) -> dict[str, Callable[[], str]]:
        return {
            "GET /models": self.models,
            "POST /generate": self.generate,
            "POST /generate/stream": self.generate_stream,
            "POST /infill": self.infill,
            "POST /infill/stream": self.infill_stream,
            "GET, POST /config": self.config,
            "GET /admin/stats": self.stats,
            "GET /admin/health": self.health,
            "GET /admin/models": self.model_details,
            "POST /admin/models/dreamon/reload": self.reload,
            "POST /admin/cleanup": self.cleanup,
            "a value out of bounds": self.validation,
        }


def _told(result: GenerationResult) -> str:
    expect(result.success, f"no success: {result}")
    return f"{result.tokens_generated} tokens by {result.model_id} in {result.processing_time:.2f} s"


def _checked(events: list[DiffusionStreamEvent], plain: GenerationResult) -> str:
    kinds = [event.type for event in events]
    expect(kinds[0] == "start" and kinds[-1] == "complete", f"the stream went {kinds}: {events[-1]}")
    streamed = "".join(event.data for event in events if event.type == "token")
    expect(streamed == plain.text, "streamed and plain text differ")
    return f"{len(events)} events, the same text as without streaming"


def run_checks(checks: dict[str, Callable[[], str]]) -> int:
    """Runs all checks, whatever fails; returns the number of failures."""
    failed = 0
    for name, check in checks.items():
        try:
            print(f"ok    {name}: {check()}", flush=True)
        except (AssertionError, DiffusionError, httpx.HTTPError, ValueError) as error:
            failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{len(checks) - failed} of {len(checks)} checks passed")
    return failed


def answers(client: DiffusionClient) -> bool:
    try:
        client.ping()
    except ServerUnreachable:
        return False
    return True


@contextmanager
def server(client: DiffusionClient, url: str, *, is_named: bool) -> Iterator[None]:
    """Uses the server that runs already, or starts one for the time of the checks."""
    if answers(client):
        print(f"using the server at {url}")
        yield
        return
    if is_named:
        raise SystemExit(f"no server answers at {url}")
    print("no server runs; starting one")
    environment = {**os.environ, "DIFFUSION_PORT": str(urlsplit(url).port)}
    process = subprocess.Popen([sys.executable, "main.py"], cwd=BACKEND, env=environment)
    try:
        _wait_for(client, process)
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_for(client: DiffusionClient, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not answers(client):
        if process.poll() is not None:
            raise SystemExit("the server did not start")
        if time.monotonic() > deadline_s:
            raise SystemExit(f"the server did not answer within {START_TIMEOUT_S} s")
        time.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=os.environ.get("DIFFUSION_URL", ""))
    parser.add_argument("--api-key", default=os.environ.get("DIFFUSION_API_KEY", ""))
    parser.add_argument("--admin-token", default=os.environ.get("DIFFUSION_ADMIN_TOKEN", ""))
    options = parser.parse_args()
    is_named = bool(options.url)
    options.url = (options.url or DEFAULT_URL).rstrip("/")
    secrets = {"api_key": options.api_key, "admin_token": options.admin_token}
    with (
        DiffusionClient(options.url, timeout_s=ANSWER_TIMEOUT_S, **secrets) as client,
        server(client, options.url, is_named=is_named),
    ):
        return 1 if run_checks(Checks(client, options).all()) else 0


if __name__ == "__main__":
    sys.exit(main())
