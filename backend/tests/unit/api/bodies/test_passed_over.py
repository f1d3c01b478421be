from __future__ import annotations

import pytest

from app.api.bodies.passed_over import MAX_NAMES, PassedOver


def test_each_unknown_name_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    passed_over = PassedOver("/infill")
    for names in (["min_p"], ["min_p", "x" * 1_000], ["\ud800"], []):
        passed_over.note(names)
    assert len(caplog.messages) == 3
    assert "'min_p'" in caplog.messages[0]
    assert all(len(message) < 200 for message in caplog.messages)


def test_unknown_names_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    passed_over = PassedOver("/infill")
    passed_over.note(map(str, range(10 * MAX_NAMES)))
    assert len(caplog.messages) == MAX_NAMES
