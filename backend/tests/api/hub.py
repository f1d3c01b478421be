"""A hub of checkpoints on this machine: as much of the real one as its client asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _entry(file: Path) -> dict[str, object]:
    return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": COMMIT}


@contextmanager
def hub(hub_id: str, folder: Path) -> Iterator[str]:
    """Serves the files of `folder` as a repository; gives the hub's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            name = path.removeprefix(f"/{hub_id}/resolve/{COMMIT}/")
            if path in (f"/api/models/{hub_id}/revision/{revision}" for revision in ("main", COMMIT)):
                names = [{"rfilename": file.name} for file in folder.iterdir()]
                self._answer(json.dumps({"id": hub_id, "sha": COMMIT, "siblings": names}).encode())
            elif path == f"/api/models/{hub_id}/tree/{COMMIT}":
                self._answer(json.dumps([_entry(file) for file in folder.iterdir()]).encode())
            elif path != name and (folder / name).is_file():
                self._answer((folder / name).read_bytes())
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}"
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
