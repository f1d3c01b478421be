from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.ray.start import MAX_SOCKET_BYTES, SESSION_BYTES, _folder

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize("letter", ["x", "ü"])
def test_a_folder_too_long_for_sockets_is_replaced_while_ray_runs(
    monkeypatch: pytest.MonkeyPatch, variable: str, letter: str
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    num_letters = (MAX_SOCKET_BYTES - SESSION_BYTES) // len(os.fsencode(letter))
    monkeypatch.setenv(variable, letter * num_letters)
    with _folder() as chosen:
        assert chosen is None, "it fits, and so is Ray's choice"
    monkeypatch.setenv(variable, letter * (num_letters + 1))
    with _folder() as chosen:
        assert chosen is not None
        assert Path(chosen).is_dir()
        assert len(os.fsencode(chosen)) + SESSION_BYTES <= MAX_SOCKET_BYTES
    assert not Path(chosen).exists()
