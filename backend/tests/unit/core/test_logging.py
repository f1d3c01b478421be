from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.core.logging import JsonFormatter, PlainFormatter, configure_logging, label_log_lines
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


@pytest.mark.parametrize(
    "content",
    [
        "two\nlines",
        'a "quote"',
        "\u2028\x85\r",
        "half \ud83d pair",
        {"deep": ["\n"]},
        float("nan"),
        [float("inf")],
        {(1, 2): 3},
    ],
)
def test_a_json_line_stays_one_line_of_json_whatever_it_holds(content: object) -> None:
    line = JsonFormatter().format(record(content=content))
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line, parse_constant=pytest.fail)["message"] == "request 7"


def test_a_list_that_holds_itself_can_be_written() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert json.loads(JsonFormatter().format(record(endless=endless)))["endless"] == "[[...]]"


@pytest.fixture
def configured() -> Iterator[Callable[..., io.StringIO]]:
    """Configures logging for a while; the result is what is written."""
    root = logging.getLogger()
    before, level, complains = root.handlers[:], root.level, logging.raiseExceptions
    root.handlers = []

    def configure(**settings: Any) -> io.StringIO:
        configure_logging(Settings(**settings))
        handler = root.handlers[0]
        assert isinstance(handler, logging.StreamHandler)
        written = io.StringIO()
        handler.setStream(written)
        return written

    yield configure
    root.handlers, logging.raiseExceptions = before, complains
    root.setLevel(level)


def test_configuring_sends_everything_through_one_handler(configured: Callable[..., io.StringIO]) -> None:
    configured(log_level="warning", log_format="json")
    configured(log_level="warning", log_format="json")
    root = logging.getLogger()
    assert [type(handler.formatter) for handler in root.handlers] == [JsonFormatter]
    assert root.level == logging.WARNING


async def test_every_line_of_a_request_has_its_id(configured: Callable[..., io.StringIO]) -> None:
    """The lines of tasks and threads that it starts have the id too, and no other lines."""
    written = configured(log_format="json")

    async def serve(request_id: str) -> None:
        label_log_lines(request_id)
        await asyncio.create_task(log())
        await asyncio.to_thread(logging.info, request_id)
        logging.info("of another", extra={"request_id": "other"})

    async def log() -> None:
        await asyncio.sleep(0)
        logging.info("from a task")

    await asyncio.gather(asyncio.create_task(serve("one")), asyncio.create_task(serve("two")))
    logging.info("of no request")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    ids = [line.get("request_id") for line in lines]
    assert sorted(ids[:-1]) == ["one", "one", "other", "other", "two", "two"]
    assert all(line["message"] == line["request_id"] for line in lines if line["message"] in ("one", "two"))
    assert ids[-1] is None


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else(
    configured: Callable[..., io.StringIO], capsys: pytest.CaptureFixture[str]
) -> None:
    configured().close()
    logging.info("onto a closed file")
    logging.info("too few arguments: %s %s", 1)
    assert capsys.readouterr().err == ""
