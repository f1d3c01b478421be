#!/usr/bin/env bash
# llama-index-llms-openai-like 0.8.1 with llama-index-core 0.14.25.
# Guess: `OpenAILike(is_chat_model=True).as_structured_llm(Person)`, of a model that calls no functions, puts the schema into the
#   prompt and asks for text.
# Instead: beside the prompt it sends `tool_choice: "required"` without any `tools`, which OpenAI's API refuses, and other servers
#   too. And the schema in the prompt has each of its braces twice, as a template has them before it is filled in, so it is no JSON.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet llama-index-llms-openai-like==0.8.1 llama-index-core==0.14.25 || exit 2

NO_PROXY=127.0.0.1 "$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

CHOICE = {"index": 0, "message": {"role": "assistant", "content": '{"age": 1}'}, "finish_reason": "stop"}


class Person(BaseModel):
    age: int


class Listener(BaseHTTPRequestHandler):
    asked: dict = {}

    def do_POST(self) -> None:
        Listener.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
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
model = OpenAILike(model="any", api_base=f"http://127.0.0.1:{server.server_port}/v1", api_key="any", is_chat_model=True)
model.as_structured_llm(Person).complete("How old is Anne?")
server.shutdown()
asked = Listener.asked
prompt = asked["messages"][-1]["content"]
line = next(line for line in prompt.splitlines() if "properties" in line)
print(f"version:  llama-index-llms-openai-like {version('llama-index-llms-openai-like')}, llama-index-core {version('llama-index-core')}")
print(f"expected: no tool_choice without tools, and the schema {json.dumps(Person.model_json_schema())}")
print(f"seen:     tool_choice {asked.get('tool_choice')!r}, tools {asked.get('tools')}, and the schema {line}")
is_doubled = line.startswith('{{"properties": {{"age":')
sys.exit(0 if asked.get("tool_choice") == "required" and not asked.get("tools") and is_doubled else 1)
PYTHON
