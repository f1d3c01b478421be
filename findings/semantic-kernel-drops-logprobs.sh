#!/usr/bin/env bash
# semantic-kernel 1.45.0.
# Guess: `OpenAIChatPromptExecutionSettings(logprobs=True, top_logprobs=2)` asks for the probabilities of a chat answer, whose metadata
#   have a place for them.
# Instead: neither field is sent, and nothing is said: the settings of chats do not know them, and keep unknown ones to themselves. What
#   stands in `extra_body` is sent.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet semantic-kernel==1.45.0 || exit 2

NO_PROXY=127.0.0.1 "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import json
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from openai import AsyncOpenAI
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.contents import ChatHistory

TOKEN = {"token": "yes", "logprob": -0.5, "bytes": None, "top_logprobs": []}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop", "logprobs": {"content": [TOKEN]}}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
ANSWER = {"id": "any", "object": "chat.completion", "created": 1, "model": "any", "choices": [CHOICE], "usage": USAGE}


class Listener(BaseHTTPRequestHandler):
    asked: dict = {}

    def do_POST(self) -> None:
        Listener.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


async def ask(url: str, **settings: object) -> tuple[dict, object]:
    service = OpenAIChatCompletion(ai_model_id="any", async_client=AsyncOpenAI(base_url=url, api_key="any"))
    history = ChatHistory()
    history.add_user_message("Is it?")
    answer = await service.get_chat_message_content(history, OpenAIChatPromptExecutionSettings(seed=1, **settings))
    return Listener.asked, answer.metadata["logprobs"]


server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/v1"
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    as_settings, metadata = asyncio.run(ask(url, logprobs=True, top_logprobs=2))
is_told = any("logprobs" in str(warning.message) for warning in said)
as_extra, _ = asyncio.run(ask(url, extra_body={"logprobs": True, "top_logprobs": 2}))
server.shutdown()
fields = ("logprobs", "top_logprobs")
print(f"version:  semantic-kernel {version('semantic-kernel')}")
print("expected: logprobs and top_logprobs among the fields that are sent")
print(f"seen:     {sorted(as_settings)}, a warning about them: {is_told}; with extra_body {sorted(as_extra)}")
print(f"          the metadata have what the server gave: {metadata is not None}")
is_as_described = not any(name in as_settings for name in fields) and not is_told and metadata is not None
sys.exit(0 if is_as_described and all(name in as_extra for name in fields) else 1)
PYTHON
