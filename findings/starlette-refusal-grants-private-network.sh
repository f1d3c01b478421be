#!/usr/bin/env bash
# starlette 1.10.0.
# Guess: CORSMiddleware with `allow_private_network=True` grants access to the private network to allowed origins only.
# Instead: the preflight of any other origin is refused (400, no Access-Control-Allow-Origin), yet the refusal carries
#   `Access-Control-Allow-Private-Network: true`. Browsers turn it down all the same, for the origin is not allowed;
#   but a log or a test that looks at this header alone reads the refusal as a grant.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet starlette==1.10.0 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys

import starlette
from starlette.middleware.cors import CORSMiddleware

ALLOWED, OTHER = "https://allowed.example", "https://other.example"
ORIGIN, PRIVATE = "access-control-allow-origin", "access-control-allow-private-network"


async def application(*_: object) -> None:
    raise AssertionError("a preflight does not reach the application")


async def preflight(origin: str) -> tuple[int, str | None, str | None]:
    """Gives status, allowed origin and private network of the answer to a preflight."""
    asked = {"origin": origin, "access-control-request-method": "GET", "access-control-request-private-network": "true"}
    headers = [(name.encode(), value.encode()) for name, value in asked.items()]
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    middleware = CORSMiddleware(application, allow_origins=[ALLOWED], allow_private_network=True)
    await middleware({"type": "http", "method": "OPTIONS", "path": "/", "headers": headers}, None, send)
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered.get(ORIGIN), answered.get(PRIVATE)


allowed, other = asyncio.run(preflight(ALLOWED)), asyncio.run(preflight(OTHER))
print(f"version:  starlette {starlette.__version__}")
print(f"expected: no {PRIVATE} in the refusal of another origin")
print(f"seen:     (status, {ORIGIN}, {PRIVATE}): allowed {allowed}, other {other}")
sys.exit(0 if allowed == (200, ALLOWED, "true") and other == (400, None, "true") else 1)
PYTHON
