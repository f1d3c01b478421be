#!/usr/bin/env bash
# ollama 0.6.3 (Python), 0.6.4 (Node).
# Guess: both clients say so when a stream ends before its last line, the one with "done": true.
# Instead: the client for Node throws "Did not receive done or success response in stream."; the one for Python ends its
#   iteration as if the answer were whole. Whoever needs to know has to look at `done` of the last part.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ollama==0.6.3 || exit 2
(cd "$folder" && npm install --silent ollama@0.6.4 >/dev/null) || exit 2

cat >"$folder/ask.mjs" <<'NODE'
import { Ollama } from "ollama";
const client = new Ollama({ host: process.argv[2] });
let text = "";
try {
  for await (const part of await client.generate({ model: "any", prompt: "x", stream: true })) text += part.response;
  console.log(`${text} and no error`);
} catch (error) {
  console.log(`${text} and ${error.message}`);
}
NODE

NO_PROXY=127.0.0.1 "$folder/venv/bin/python" - "$folder/ask.mjs" <<'PYTHON'
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import ollama


class GivesUp(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        content = json.dumps({"response": "half", "done": False}).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), GivesUp)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
node = subprocess.run(["node", sys.argv[1], address], capture_output=True, text=True, check=True).stdout.strip()
try:
    parts = list(ollama.Client(host=address).generate("any", "x", stream=True))
    python = f"{''.join(part.response for part in parts)} and no error"
except Exception as error:
    python = f"{type(error).__name__}: {error}"
server.shutdown()
print(f"version:  ollama {version('ollama')} for Python, 0.6.4 for Node")
print("expected: an error of both, for the stream ends without its last line")
print(f"seen:     Python: {python}")
print(f"          Node:   {node}")
sys.exit(0 if python == "half and no error" and node.startswith("half and Did not receive done") else 1)
PYTHON
