#!/usr/bin/env bash
# openai 2.54.0 (Python).
# Guess: a request that a server gave up after its time limit (504) reaches the server once; the caller gets the error.
# Instead: with defaults the client sends it three times (any status from 500 on is repeated twice, as its README says),
#   so a generation that was too long is generated thrice. The answer's header `x-should-retry: false`, which the README
#   does not mention, makes the client send it once.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openai==2.54.0 || exit 2

NO_PROXY=127.0.0.1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai


class Late(BaseHTTPRequestHandler):
    headers_sent: dict[str, str] = {}
    requests = 0

    def do_POST(self) -> None:
        Late.requests += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(504)
        for name, value in {"Content-Length": "0", **Late.headers_sent}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def requests_sent(client: openai.OpenAI, headers: dict[str, str]) -> int:
    """Counts the requests that one call makes where each is answered with 504 and these headers."""
    Late.headers_sent, Late.requests = headers, 0
    try:
        client.chat.completions.create(model="any", messages=[{"role": "user", "content": "hello"}])
    except openai.InternalServerError as error:
        assert error.status_code == 504
    return Late.requests


server = ThreadingHTTPServer(("127.0.0.1", 0), Late)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none")
plain, told = requests_sent(client, {}), requests_sent(client, {"x-should-retry": "false"})
server.shutdown()
print(f"version:  openai {openai.__version__}")
print("expected: 1 request for a call that is answered with 504")
print(f"seen:     {plain} requests; with the answer's header x-should-retry: false, {told}")
sys.exit(0 if (plain, told) == (3, 1) else 1)
PYTHON
