from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.serving import Server, install_plugin, serving


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the server's path that holds an installed package with models."""
    return install_plugin(tmp_path_factory.mktemp("plugin") / "site-packages")


@pytest.fixture(autouse=True)
def _left_idle(request: pytest.FixtureRequest) -> Iterator[None]:
    """Waits after each test until the server is idle, so that a test that leaves a request behind fails itself."""
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").wait_until_idle()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, plugin: Path) -> Iterator[Server]:
    """The server that nearly all tests share; each leaves it idle and configured as it was."""
    with serving(tmp_path_factory.mktemp("server"), plugin, LOG_LEVEL="debug") as running:
        running.wait_until_ready()
        yield running
