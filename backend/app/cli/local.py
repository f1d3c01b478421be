"""A whole server inside this process, which only this process can use; it answers commands where no server runs."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import NamedTuple

from pydantic import SecretStr

from app.core.settings import load_settings
from app.server import Server, create_app, new_server

HOST = "127.0.0.1"


class LocalServer(NamedTuple):
    """The URL and the key of a server inside this process."""

    url: str
    api_key: str


@contextmanager
def local_server() -> Iterator[LocalServer]:
    """Serves on a free port with this process's settings until the block ends; other programs lack the key.

    Raises:
        WrongSetting: a setting does not fit.
    """
    key = secrets.token_hex(32)
    own = {"host": HOST, "api_keys": SecretStr(key), "rate_limit": "", "preload": "default"}
    server = new_server(create_app(load_settings(**own)))
    with socket.create_server((HOST, 0)) as listener:
        thread = Thread(target=server.run, args=([listener],), name="local server")
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield LocalServer(f"http://{HOST}:{listener.getsockname()[1]}", key)
        finally:
            server.should_exit = True
            thread.join()


def _wait_until_started(server: Server, thread: Thread) -> None:
    while thread.is_alive() and not server.started:
        time.sleep(0.01)
