from __future__ import annotations

import logging

from app.ray.serve_log import MAX_KNOWN, QUIET_S, PlainSpeech
from tests.unit.api.clock import Clock


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("ray.serve", logging.WARNING, "", 0, message, arguments, None)


def test_a_text_of_many_lines_becomes_one() -> None:
    said = record("Failed to reach %s: \n\tpid: 7\n\nThe actor died.", "Replica(id='x')")
    assert PlainSpeech().filter(said)
    assert said.getMessage() == "Failed to reach Replica(id='x'): pid: 7 The actor died."


def test_a_repeated_message_is_logged_once_in_a_while() -> None:
    clock = Clock()
    speech = PlainSpeech(clock)
    assert [speech.filter(record("busy: %s", name)) for name in "aabab"] == [True, False, True, False, False]
    clock.now_s += QUIET_S
    assert speech.filter(record("busy: %s", "a"))


def test_the_log_limiter_remembers_a_bounded_number_of_messages() -> None:
    speech = PlainSpeech()
    for number in range(3 * MAX_KNOWN):
        assert speech.filter(record("%d", number))
    assert len(speech._said_s) <= MAX_KNOWN


def test_a_percent_sign_in_a_log_line_is_text() -> None:
    said = record("100 %s", "5%")
    assert PlainSpeech().filter(said)
    assert said.getMessage() == "100 5%"
