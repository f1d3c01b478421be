#!/usr/bin/env bash
# openai 3.57.0 for Python and 7.59.0 for Node.
# Guess: the message that `chat.completions.stream` ends with has the role that the chunks have, also where each chunk repeats it,
#   and fields beyond OpenAI's with a value that some chunk had, in both languages alike.
# Instead: Python strings the roles together to "assistantassistant", which is no role that a next turn may have; and of what is
#   beside the text it adds up the numbers of all chunks, and makes a number of true and false. Node has the last value of each.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openai==3.57.0 || exit 2
npm install --silent --prefix "$folder" openai@7.59.0 >/dev/null || exit 2

cat >"$folder/ask.mjs" <<'JS'
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "any", maxRetries: 0 });
const { role, content, step, whole } = await client.chat.completions.stream({ model: "any", messages: [] }).finalMessage();
console.log(JSON.stringify({ role, content, step, whole }));
JS

cat >"$folder/ask.py" <<'PYTHON'
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import openai

DELTAS = (
    {"role": "assistant", "content": "a", "step": 1, "whole": False},
    {"role": "assistant", "content": "b", "step": 2, "whole": False},
    {"role": "assistant", "content": "c", "step": 3, "whole": True},
)


class Server(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for delta in (*DELTAS, {}):
            choice = {"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}
            chunk = {"id": "any", "object": "chat.completion.chunk", "created": 1, "model": "any", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}/v1"
client = openai.OpenAI(base_url=base, api_key="any", max_retries=0)
with client.chat.completions.stream(model="any", messages=[{"role": "user", "content": "x"}]) as stream:
    message = stream.get_final_completion().choices[0].message.model_dump()
by_python = {name: message[name] for name in ("role", "content", "step", "whole")}
by_node = json.loads(subprocess.run(["node", "ask.mjs", base], check=True, capture_output=True, text=True).stdout)
server.shutdown()
node = json.loads(Path("node_modules/openai/package.json").read_text())["version"]
expected = {"role": "assistant", "content": "abc", "step": 3, "whole": True}
print(f"version:  openai {version('openai')} for Python, {node} for Node")
print(f"expected: {expected}")
print(f"seen:     Python {by_python}, Node {by_node}")
is_doubled = by_python == {"role": "assistantassistantassistant", "content": "abc", "step": 6, "whole": 1}
sys.exit(0 if is_doubled and by_node == expected else 1)
PYTHON
cd "$folder"
NO_PROXY=127.0.0.1 "$folder/venv/bin/python" ask.py
