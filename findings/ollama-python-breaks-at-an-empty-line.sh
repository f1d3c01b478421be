#!/usr/bin/env bash
# ollama 0.6.3 (Python).
# Guess: a reader of a stream of JSON lines passes over an empty line, which servers send as a sign of life.
# Instead: an empty line between two objects ends the stream with a JSONDecodeError, that of the json module and not the
#   package's own ResponseError. A sign of life has to be an object without text, as {"response": "", "done": false}.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ollama==0.6.3 || exit 2

NO_PROXY=127.0.0.1 "$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import ollama


class Slow(BaseHTTPRequestHandler):
    between = b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        pieces = [{"response": "a", "done": False}, {"response": "b", "done": True}]
        content = Slow.between.join(json.dumps(piece).encode() + b"\n" for piece in pieces)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def streamed(between: bytes) -> str:
    """Tells what comes of a stream that has these bytes between its two objects."""
    Slow.between = between
    client = ollama.Client(host=f"http://127.0.0.1:{server.server_port}")
    try:
        return "".join(part.response for part in client.generate("any", "x", stream=True))
    except Exception as error:
        return type(error).__name__


server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
threading.Thread(target=server.serve_forever, daemon=True).start()
plain, empty, without_text = map(streamed, (b"", b"\n", b'{"response": "", "done": false}\n'))
server.shutdown()
print(f"version:  ollama {version('ollama')}")
print("expected: 'ab' with an empty line between the two, too")
print(f"seen:     {plain!r} without one, {empty!r} with one, {without_text!r} with an object without text instead")
sys.exit(0 if (plain, empty, without_text) == ("ab", "JSONDecodeError", "ab") else 1)
PYTHON
