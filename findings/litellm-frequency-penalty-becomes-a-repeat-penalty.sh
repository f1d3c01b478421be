#!/usr/bin/env bash
# litellm 1.110.2.
# Guess: `frequency_penalty` reaches Ollama's API under the name that it has there, by both of litellm's routes to it.
# Instead: `ollama/` sends it as `frequency_penalty`, and `ollama_chat/` as `repeat_penalty`, which is another one: a factor
#   that is neutral at 1, where OpenAI's is neutral at 0. So a client that asks for no penalty (0.0) asks for a factor of
#   0, and one that asks for 0.5 for one that favours repetition.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litellm==1.110.2 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import litellm

litellm.suppress_debug_info = True


class Listener(BaseHTTPRequestHandler):
    options: dict[str, object] = {}

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Listener.options = asked.get("options") or Listener.options
        content = json.dumps(
            {"model": "any", "created_at": "2026-01-01T00:00:00Z", "done": True, "done_reason": "stop", "response": "a",
             "message": {"role": "assistant", "content": "a"}, "prompt_eval_count": 1, "eval_count": 1}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def sent(route: str, penalty: float) -> dict[str, object]:
    """The options that a request by a route has."""
    base, messages = f"http://127.0.0.1:{server.server_port}", [{"role": "user", "content": "x"}]
    litellm.completion(model=f"{route}/any", api_base=base, messages=messages, frequency_penalty=penalty)
    return Listener.options


server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = {(route, penalty): sent(route, penalty) for route in ("ollama", "ollama_chat") for penalty in (0.0, 0.5)}
server.shutdown()
print(f"version:  litellm {version('litellm')}")
print("expected: options {'frequency_penalty': 0.5} by both routes")
print(f"seen:     by ollama/ {seen['ollama', 0.5]}, by ollama_chat/ {seen['ollama_chat', 0.5]}, and of 0.0 {seen['ollama_chat', 0.0]}")
is_kept = all(seen["ollama", penalty] == {"frequency_penalty": penalty} for penalty in (0.0, 0.5))
is_renamed = all(seen["ollama_chat", penalty] == {"repeat_penalty": penalty} for penalty in (0.0, 0.5))
sys.exit(0 if is_kept and is_renamed else 1)
PYTHON
NO_PROXY=127.0.0.1 LITELLM_LOCAL_MODEL_COST_MAP=True "$folder/venv/bin/python" "$folder/ask.py" 2>/dev/null
