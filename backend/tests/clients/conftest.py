from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.api.serving import Server, serving


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    """Collects what a client has left open in its own test, where warnings of it are passed over."""
    yield
    gc.collect()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the small checkpoints. It starts with the first test whose client is installed."""
    with serving(tmp_path_factory.mktemp("clients") / "folder", DEFAULT_MODEL="llada", PRELOAD="default") as running:
        running.wait_until_ready()
        yield running
