from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.serving import Server, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server as it comes, with the embedded checkpoints."""
    with serving(tmp_path_factory.mktemp("server") / "folder", DREAMON_PATH="", LLADA_PATH="") as running:
        running.wait_until_ready()
        yield running
