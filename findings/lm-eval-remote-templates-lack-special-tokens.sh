#!/usr/bin/env bash
# lm-eval 0.4.13 (Python).
# Guess: the harness's RemoteTokenizer, which reads a server's /tokenizer_info, writes conversations by the server's chat
#   template as transformers does: special tokens are variables of it, so that `{{ bos_token }}` is their text.
# Instead: the template gets the messages and `add_generation_prompt` alone, and undefined variables are errors: a template that
#   names `bos_token`, as most do, ends with an UndefinedError, though the property `bos_token` has its text. Given
#   as an argument, it arrives.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# Of its requirements those that the module needs: the others are a gigabyte of data sets' libraries.
"$folder/venv/bin/pip" install --quiet numpy requests pyyaml jinja2 || exit 2
"$folder/venv/bin/pip" install --quiet --no-deps lm-eval==0.4.13 || exit 2

NO_PROXY=127.0.0.1 "$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from jinja2 import UndefinedError
from lm_eval.utils import RemoteTokenizer

TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
INFO = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE}
TURNS = [{"role": "user", "content": "Hi"}]


class Tokenizers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = json.dumps(INFO).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Tokenizers)
threading.Thread(target=server.serve_forever, daemon=True).start()
tokenizer = RemoteTokenizer(f"http://127.0.0.1:{server.server_port}/v1/completions")
try:
    seen = repr(tokenizer.apply_chat_template(TURNS))
except UndefinedError as error:
    seen = f"UndefinedError: {error}"
given = tokenizer.apply_chat_template(TURNS, bos_token=tokenizer.bos_token)
server.shutdown()
print(f"version:  lm-eval {version('lm-eval')}")
print("expected: '<s>Hi', with the bos_token that /tokenizer_info names")
print(f"seen:     {seen}; {given!r} where the caller gives bos_token")
sys.exit(0 if (seen, given) == ("UndefinedError: 'bos_token' is undefined", "<s>Hi") else 1)
PYTHON
