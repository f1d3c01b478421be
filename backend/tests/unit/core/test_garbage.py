from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from app.cli.server_process import run_server
from app.core import garbage


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(garbage, "_is_server", False)
    yield
    gc.unfreeze()
    gc.enable()


def test_a_server_collects_nothing_until_it_has_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    was_enabled: list[bool] = []

    def serve(app: object) -> bool:
        was_enabled.append(gc.isenabled())
        return True

    monkeypatch.setattr("app.server.serve", serve)
    monkeypatch.setattr("app.core.logging.configure_logging", lambda settings: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert run_server() == 0
    assert was_enabled == [False]
    garbage.settle()
    assert gc.isenabled()


def test_what_was_there_when_it_settled_is_not_looked_at_again() -> None:
    garbage.postpone_collections()
    before: list[list[int]] = [[]]
    garbage.settle()
    after: list[list[int]] = [[]]
    garbage.settle()
    looked_at = set(map(id, gc.get_objects()))
    assert id(before) not in looked_at
    assert id(after) in looked_at, "only the first call counts"


def test_a_server_without_a_model_collects_too() -> None:
    garbage.postpone_collections()
    garbage.resume_collections()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    garbage.settle()
    assert gc.get_freeze_count() > 0


def test_a_process_of_somebody_else_is_left_alone() -> None:
    gc.disable()
    garbage.settle()
    garbage.resume_collections()
    assert not gc.isenabled()
    assert gc.get_freeze_count() == 0
