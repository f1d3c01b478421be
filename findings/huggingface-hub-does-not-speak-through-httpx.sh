#!/usr/bin/env bash
# huggingface_hub 2.4.0 (with httpx2 2.16.2), beside httpx 0.28.1.
# Guess: the hub client speaks HTTP through httpx, so what is laid around httpx (a recorder, a count, a block in tests,
#   `except httpx.HTTPError`) sees its requests and errors.
# Instead: it speaks through httpx2, another package with the same names inside. Nothing laid around httpx sees a request,
#   and its errors are no errors of httpx, even where both packages are installed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet huggingface_hub==2.4.0 httpx==0.28.1 httpx2==2.16.2 || exit 2

NO_PROXY=127.0.0.1 HF_HOME="$folder/home" HF_HUB_OFFLINE=0 "$folder/venv/bin/python" - <<'PYTHON'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

import httpx
import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError


class Empty(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def count_requests(package: ModuleType, seen: list[str]) -> None:
    """Lays a count around the transport of a package, as recorders for tests do."""
    original = package.HTTPTransport.handle_request

    def counted(transport: object, request: object) -> object:
        seen.append(package.__name__)
        return original(transport, request)

    package.HTTPTransport.handle_request = counted


seen: list[str] = []
count_requests(httpx, seen)
count_requests(httpx2, seen)
server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"
httpx.get(address)
own, caught = seen.count("httpx"), None
try:
    huggingface_hub.HfApi(endpoint=address).model_info("owner/name")
except HfHubHTTPError as error:
    caught = error
server.shutdown()
through = {name: seen[own:].count(name) for name in ("httpx", "httpx2")}
kinds = {package.__name__: isinstance(caught, package.HTTPError) for package in (httpx, httpx2)}
print(f"version:  huggingface_hub {huggingface_hub.__version__}, httpx {httpx.__version__}, httpx2 {httpx2.__version__}")
print("expected: the hub's request passes httpx, and its failure is an httpx.HTTPError")
print(f"seen:     requests of the hub: {through}; {type(caught).__name__} is an HTTPError of: {kinds}")
as_stated = own == 1 and through["httpx"] == 0 and through["httpx2"] >= 1 and kinds == {"httpx": False, "httpx2": True}
sys.exit(0 if as_stated else 1)
PYTHON
