from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.log_handler import PIECE_BYTES, UnwaitingHandler

LINE = "x" * 1_000


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 1, message, None, None)


@pytest.fixture
def pipe() -> Iterator[tuple[UnwaitingHandler, int]]:
    """A handler that writes into a pipe, and the end that is read."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        yield UnwaitingHandler(stream), reading
    os.close(reading)


def read_all(descriptor: int) -> list[str]:
    os.set_blocking(descriptor, False)
    content = b""
    try:
        while piece := os.read(descriptor, 65_536):
            content += piece
    except BlockingIOError:
        pass
    return content.decode().split("\n")


def test_lines_arrive_whole_and_in_order(pipe: tuple[UnwaitingHandler, int]) -> None:
    handler, reading = pipe
    lines = ["short", LINE * 10, "half \ud83d pair", "é 🦊"]
    for line in lines:
        handler.emit(record(line))
    assert read_all(reading) == ["short", LINE * 10, "half \\ud83d pair", "é 🦊", ""]


@pytest.mark.parametrize("num_characters", [100, PIECE_BYTES, 3 * PIECE_BYTES])
def test_a_pipe_that_nobody_reads_blocks_nothing(pipe: tuple[UnwaitingHandler, int], num_characters: int) -> None:
    handler, reading = pipe
    for _ in range(2_000_000 // num_characters):
        handler.emit(record("y" * num_characters))
    *whole, last, _ = read_all(reading)
    assert set(whole) <= {"y" * num_characters}
    assert set(last) == {"y"}
    handler.emit(record("read again"))
    assert "read again" in read_all(reading)


def test_after_a_cut_the_next_line_begins_a_line(pipe: tuple[UnwaitingHandler, int]) -> None:
    handler, reading = pipe
    handler.emit(record("z" * 10_000_000))
    assert set("".join(read_all(reading))) == {"z"}
    handler.emit(record("next"))
    assert read_all(reading) == ["", "next", ""]


def test_files_and_streams_without_descriptor_get_every_line(tmp_path: Path) -> None:
    kept = io.StringIO()
    with (tmp_path / "log").open("w") as file:
        for stream in (file, kept):
            handler = UnwaitingHandler(stream)
            for _ in range(200):
                handler.emit(record(LINE))
    assert (tmp_path / "log").read_text() == kept.getvalue() == f"{LINE}\n" * 200
