#!/usr/bin/env bash
# litellm 1.106.12.
# Guess: a completion through the route `text-completion-codestral/` streams as well as it answers in one piece.
# Instead: without `stream` it answers; with `stream=True` the first line of an ordinary stream of server-sent events
#   is looked at as if it were a parsed chunk, and an AttributeError inside litellm ends the call (wrapped as
#   MidStreamFallbackError). The server sends the form of Codestral's own endpoint: `message` and `delta`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litellm==1.106.12 || exit 2

NO_PROXY=127.0.0.1 LITELLM_LOCAL_MODEL_COST_MAP=True "$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import litellm

litellm.suppress_debug_info = True
HEAD = {"id": "cmpl-1", "model": "codestral", "created": 1}
USAGE = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
WHOLE = {"role": "assistant", "content": "return a + b"}


def events() -> str:
    """Gives a stream of three chunks and its end, as server-sent events."""
    parts = (("return ", None), ("a + b", None), ("", "stop"))
    deltas = [{"index": 0, "delta": {"content": text}, "finish_reason": reason} for text, reason in parts]
    chunks = [{**HEAD, "object": "chat.completion.chunk", "choices": [delta]} for delta in deltas]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def answer() -> str:
    """Gives the same completion in one piece."""
    choice = {"index": 0, "message": WHOLE, "finish_reason": "stop"}
    return json.dumps({**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE})


class Codestral(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        streams = json.loads(self.rfile.read(int(self.headers["Content-Length"]))).get("stream", False)
        content = (events() if streams else answer()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if streams else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def complete(address: str, **how: bool) -> object:
    """Asks for the completion through the route."""
    named = {"model": "text-completion-codestral/codestral", "prompt": "def add(a, b):\n    ", "suffix": "\n"}
    return litellm.text_completion(**named, api_base=address, api_key="none", max_tokens=8, **how)


def streamed(address: str) -> str:
    """Tells what came of the completion as a stream."""
    try:
        return "".join(chunk.choices[0].text or "" for chunk in complete(address, stream=True))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


server = ThreadingHTTPServer(("127.0.0.1", 0), Codestral)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/v1/fim/completions"
whole, stream = complete(address).choices[0].text, streamed(address)
server.shutdown()
print(f"version:  litellm {version('litellm')}")
print("expected: 'return a + b' both ways")
print(f"seen:     in one piece: {whole!r}")
print(f"          as a stream:  {stream}")
sys.exit(0 if whole == "return a + b" and "'str' object has no attribute 'choices'" in stream else 1)
PYTHON
