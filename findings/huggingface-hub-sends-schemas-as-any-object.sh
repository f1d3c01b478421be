#!/usr/bin/env bash
# huggingface_hub 2.4.0, with openai 3.57.0 beside it.
# Guess: `InferenceClient(base_url=...)`, which is meant for any server of OpenAI's API, sends a `response_format` of the type
#   `json_schema` as it is given, as the package `openai` does.
# Instead: it sends `{"type": "json_object", "value": <the schema>}`, the words of one server, and drops the schema's name and
#   `strict`. To OpenAI's API that asks for any object, with a field that it does not have: a server that passes over such
#   fields answers with JSON by no schema.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet huggingface_hub==2.4.0 openai==3.57.0 || exit 2

NO_PROXY=127.0.0.1 "$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import huggingface_hub
import openai

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}
ASKED = {"model": "any", "messages": [{"role": "user", "content": "x"}], "response_format": FORMAT}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": '{"age": 1}'}, "finish_reason": "stop"}


class Listener(BaseHTTPRequestHandler):
    format: object = None

    def do_POST(self) -> None:
        Listener.format = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["response_format"]
        answer = {"id": "any", "object": "chat.completion", "created": 1, "model": "any", "choices": [CHOICE]}
        content = json.dumps({**answer, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}/v1"
openai.OpenAI(base_url=base, api_key="any").chat.completions.create(**ASKED)
by_openai = Listener.format
huggingface_hub.InferenceClient(base_url=base, api_key="any").chat.completions.create(**ASKED)
by_hub = Listener.format
server.shutdown()
print(f"version:  huggingface_hub {version('huggingface_hub')}, openai {version('openai')}")
print(f"expected: {json.dumps(FORMAT)} from both")
print(f"seen:     {json.dumps(by_hub)} from huggingface_hub, {'the same as given' if by_openai == FORMAT else by_openai} from openai")
sys.exit(0 if by_openai == FORMAT and by_hub == {"type": "json_object", "value": SCHEMA} else 1)
PYTHON
