#!/usr/bin/env bash
# openai 3.57.0 for Python and 7.59.0 for Node.
# Guess: an event of a stream that has no data, such as a lone `retry: 3000` or `id: 1`, is passed over, as the standard of
#   server-sent events has it ("If the data buffer is an empty string, set the data buffer and the event type buffer to the empty string and return").
# Instead: Python reads the data that is not there as JSON, and the stream ends with a JSONDecodeError, which is no error of
#   openai's. Node passes both over. Comments pass in both.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openai==3.57.0 || exit 2
npm install --silent --prefix "$folder" openai@7.59.0 >/dev/null || exit 2

cat >"$folder/ask.mjs" <<'JS'
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "any", maxRetries: 0 });
let text = "";
for await (const chunk of await client.chat.completions.create({ model: "any", messages: [], stream: true })) {
  text += chunk.choices[0].delta.content;
}
console.log(text);
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


class Server(BaseHTTPRequestHandler):
    between = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for text in ("a", "b"):
            choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
            chunk = {"id": "any", "object": "chat.completion.chunk", "created": 1, "model": "any", "choices": [choice]}
            self.wfile.write(f"{Server.between}data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: object) -> None:
        pass


def by_python() -> str:
    text = ""
    try:
        for chunk in client.chat.completions.create(model="any", messages=[{"role": "user", "content": "x"}], stream=True):
            text += chunk.choices[0].delta.content or ""
    except Exception as error:
        return f"{text!r}, then {type(error).__module__}.{type(error).__name__}: {error}"
    return repr(text)


def by_node() -> str:
    return repr(subprocess.run(["node", "ask.mjs", base], check=True, capture_output=True, text=True).stdout.strip())


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}/v1"
client = openai.OpenAI(base_url=base, api_key="any", max_retries=0)
seen = {}
for between in (": a comment\n\n", "retry: 3000\n\n", "id: 1\n\n"):
    Server.between = between
    seen[between.strip()] = by_python(), by_node()
server.shutdown()
node = json.loads(Path("node_modules/openai/package.json").read_text())["version"]
print(f"version:  openai {version('openai')} for Python, {node} for Node")
print("expected: 'ab', whatever stands between the chunks")
for between, (python, javascript) in seen.items():
    print(f"seen:     {between}: Python {python}; Node {javascript}")
are_broken = all("json.decoder.JSONDecodeError" in seen[name][0] for name in ("retry: 3000", "id: 1"))
are_passed = all(javascript == "'ab'" for _, javascript in seen.values()) and seen[": a comment"][0] == "'ab'"
sys.exit(0 if are_broken and are_passed else 1)
PYTHON
cd "$folder"
NO_PROXY=127.0.0.1 "$folder/venv/bin/python" ask.py 2>"$folder/said"
