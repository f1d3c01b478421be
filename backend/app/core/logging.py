"""Logging for the whole process: one line per record on standard error, plain or as JSON."""

from __future__ import annotations

import json
import logging
import time
from contextvars import ContextVar
from typing import Any

from app.core.log_handler import UnwaitingHandler
from app.core.settings import Settings

NOT_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "_ray_timestamp_ns"}
"""The attributes that every record has, and those that uvicorn and Ray add; all others are fields from `extra`."""

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def configure_logging(settings: Settings) -> None:
    """Sends all log lines, including uvicorn's, through one handler of the root logger."""
    handler = UnwaitingHandler()
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else PlainFormatter())
    handler.addFilter(_add_request_id)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # A line that cannot be written, on a full disk say, is lost; complaining of it would write there too.
    logging.raiseExceptions = False


def label_log_lines(request_id: str) -> None:
    """Adds the request id to every line that this task, and the tasks and threads that it starts, log from now on."""
    _request_id.set(request_id)


def current_request_id() -> str:
    """The request id of this task's log lines; empty outside a request."""
    return _request_id.get()


def _add_request_id(record: logging.LogRecord) -> bool:
    request_id = _request_id.get()
    if request_id and not hasattr(record, "request_id"):
        record.request_id = request_id
    return True


class PlainFormatter(logging.Formatter):
    """Writes lines such as `2026-01-31T12:00:00.123Z INFO app.api.observation.request_log request status=200 …`"""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_utc(record)} {record.levelname} {record.name} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """Writes one JSON object per line, whatever the message and the fields hold."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return json.dumps(line, default=str, allow_nan=False)
        except (TypeError, ValueError):  # a number that is not finite, a key that is no text, a list that holds itself
            return json.dumps({name: str(value) for name, value in line.items()})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in NOT_FIELDS}


def _utc(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"
