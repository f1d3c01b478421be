from __future__ import annotations

import json
import logging
import sys

import pytest

from app.core.logging import JsonFormatter, PlainFormatter, configure_logging
from app.core.settings import Settings


def record(**fields: object) -> logging.LogRecord:
    made = logging.LogRecord("app.test", logging.INFO, __file__, 1, "request %d", (7,), None)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    vars(made).update(fields)
    return made


def test_plain_line_has_time_level_logger_message_and_fields() -> None:
    line = PlainFormatter().format(record(status=200, path="/x"))
    assert line == "2023-11-14T22:13:20.250Z INFO app.test request 7 status=200 path=/x"


def test_json_line_is_one_object() -> None:
    line = JsonFormatter().format(record(status=200, odd=object))
    parsed = json.loads(line)
    assert "\n" not in line
    assert parsed["timestamp"] == "2023-11-14T22:13:20.250Z"
    assert (parsed["level"], parsed["logger"], parsed["message"], parsed["status"]) == (
        "info",
        "app.test",
        "request 7",
        200,
    )


@pytest.mark.parametrize("formatter", [PlainFormatter(), JsonFormatter()])
def test_exception_keeps_its_cause(formatter: logging.Formatter) -> None:
    broken = record()
    try:
        raise ValueError("the cause")
    except ValueError:
        broken.exc_info = sys.exc_info()
    assert "ValueError: the cause" in formatter.format(broken)


def test_configuring_sends_everything_through_one_handler() -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    try:
        configure_logging(Settings(log_level="warning", log_format="json"))
        configure_logging(Settings(log_level="warning", log_format="json"))
        assert [type(handler.formatter) for handler in root.handlers] == [JsonFormatter]
        assert root.level == logging.WARNING
    finally:
        root.handlers = before
        root.setLevel(level)
