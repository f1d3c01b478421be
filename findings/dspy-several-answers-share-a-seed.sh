#!/usr/bin/env bash
# dspy 3.4.1.
# Guess: `dspy.Predict("question -> answer", n=3)` asks for three answers, as `n` of OpenAI's API does, also where the model has a seed.
# Instead: it sends three requests without `n`, with the same seed each, one body as the other. A server whose seed fixes the output
#   answers the same three times.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dspy==3.4.1 || exit 2

NO_PROXY=127.0.0.1 DSPY_CACHEDIR="$folder/cache" "$folder/venv/bin/python" - <<'PYTHON'
import json
import random
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import dspy

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


class Listener(BaseHTTPRequestHandler):
    """Answers with a number that the seed fixes, as many times as is asked for."""

    asked: list[dict] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Listener.asked.append(asked)
        drawn = random.Random(asked.get("seed"))
        texts = [f"[[ ## answer ## ]]\n{drawn.random()}\n\n[[ ## completed ## ]]" for _ in range(asked.get("n") or 1)]
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for index, text in enumerate(texts)
        ]
        answer = {"id": "any", "object": "chat.completion", "created": 1, "model": "any", "choices": choices, "usage": USAGE}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/v1"
model = dspy.LM("openai/any", api_base=url, api_key="any", seed=1, temperature=0.7, cache=False)
with dspy.context(lm=model):
    answers = dspy.Predict("question -> answer", n=3)(question="Which number?").completions.answer
server.shutdown()
sent = [{"n": asked.get("n"), "seed": asked.get("seed")} for asked in Listener.asked]
print(f"version:  dspy {version('dspy')}")
print("expected: one request with n 3, or three with seeds of their own; three different answers")
print(f"seen:     {sent}; {len(set(answers))} different of {len(answers)} answers")
sys.exit(0 if sent == [{"n": None, "seed": 1}] * 3 and len(set(answers)) == 1 else 1)
PYTHON
