"""Each vector tokenizer, loaded once."""

from __future__ import annotations

import pytest

from app.text import Tokenizer
from tests.unit.text.folders import CHECKPOINTS, VECTORS, write_byte_fallback


@pytest.fixture(scope="session")
def llada() -> Tokenizer:
    return Tokenizer.load(VECTORS / "llada-tiny")


@pytest.fixture(scope="session")
def dream() -> Tokenizer:
    return Tokenizer.load(VECTORS / "dream-tiny")


@pytest.fixture(scope="session")
def dreamon() -> Tokenizer:
    return Tokenizer.load(VECTORS / "dreamon-tiny")


@pytest.fixture(scope="session")
def byte_fallback(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.load(write_byte_fallback(tmp_path_factory.mktemp("byte_fallback")))


@pytest.fixture(scope="session", params=CHECKPOINTS)
def any_checkpoint(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.load(VECTORS / str(request.param))
