#!/usr/bin/env bash
# ollama 0.6.3 (Python).
# Guess: `ollama.Options(min_p=0.1)` sends the option, as the dictionary {"min_p": 0.1} does, or refuses a name that it does
#   not know.
# Instead: the class has no `min_p`, which Ollama's API has, and passes over every name that it does not have without a word: the
#   request has none of it, and the answer is drawn without the filter. A dictionary keeps it.
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


class Listener(BaseHTTPRequestHandler):
    options: object = None

    def do_POST(self) -> None:
        Listener.options = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["options"]
        content = b'{"response": "a", "done": true}\n'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def sent(options: object) -> object:
    """The options that reach the server."""
    ollama.Client(host=f"http://127.0.0.1:{server.server_port}").generate("any", "x", options=options)
    return Listener.options


server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
by_class, by_dictionary = sent(ollama.Options(min_p=0.1, top_k=5)), sent({"min_p": 0.1, "top_k": 5})
server.shutdown()
print(f"version:  ollama {version('ollama')}")
print("expected: {'min_p': 0.1, 'top_k': 5} either way, or an error that names min_p")
print(f"seen:     {by_class} from Options, {by_dictionary} from a dictionary")
sys.exit(0 if (by_class, by_dictionary) == ({"top_k": 5}, {"min_p": 0.1, "top_k": 5}) else 1)
PYTHON
