from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from app.text.conversation import Message, fitted

FRAME = 2
"""Tokens that the template adds to each message."""


def count(messages: Sequence[Message]) -> int:
    return 1 + sum(FRAME + len(message["content"]) for message in messages)


def talk(*turns: str) -> list[Message]:
    """The messages of turns such as `"user: Hello"`."""
    pairs = [turn.split(": ") for turn in turns]
    return [{"role": role, "content": content} for role, content in pairs]


TALK = talk("system: Be brief", "user: one", "assistant: two", "user: three", "assistant: four", "user: five")


def test_the_oldest_turns_are_dropped_first_and_whole() -> None:
    assert fitted(TALK, count, count(TALK)) == TALK
    assert fitted(TALK, count, count(TALK) - 1) == [TALK[0], *TALK[3:]]
    assert fitted(TALK, count, count(TALK) - 2 * FRAME - 6) == [TALK[0], *TALK[3:]]
    assert fitted(TALK, count, count(TALK) - 2 * FRAME - 7) == [TALK[0], TALK[5]]


def test_the_newest_turn_is_cut_at_its_beginning() -> None:
    messages = talk("system: Be", "user: one", "user: one hundred and two")
    assert fitted(messages, count, count([messages[0], messages[2]]) - 4) == talk("system: Be", "user: hundred and two")


def test_a_system_message_leaves_half_of_the_room() -> None:
    long = talk("system: " + "s" * 50 + "!", "user: " + "u" * 50 + "?")
    system, user = fitted(long, count, 40)
    assert count([system, {**user, "content": ""}]) == 20
    assert count([system, user]) == 40
    assert (system["content"][-1], user["content"][-1]) == ("!", "?")


def test_a_conversation_without_a_user_keeps_its_last_message() -> None:
    assert fitted(talk("assistant: one", "assistant: two"), count, 6) == talk("assistant: two")


def test_a_message_that_cannot_fit_is_emptied() -> None:
    assert fitted(TALK, count, 1) == talk("system: ", "user: ")


def test_a_conversation_of_many_messages_is_rendered_a_few_times() -> None:
    rendered = []

    def counted(messages: Sequence[Message]) -> int:
        rendered.append(messages)
        return count(messages)

    assert fitted(talk(*["system: abc", "user: abc"] * 500), counted, 20)[-1]["content"] == ""
    assert len(rendered) < 40


MESSAGES = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["system", "user", "assistant", "tool"]),
        st.text("ab", max_size=12),
    ),
    min_size=1,
    max_size=8,
)


@given(MESSAGES, st.integers(0, 120))
def test_a_shortened_conversation_is_the_end_of_the_given_one(messages: list[Message], room: int) -> None:
    kept = fitted(messages, count, room)
    frame = count([{**message, "content": ""} for message in kept])
    assert count(kept) <= max(room, frame)
    assert sum(message["role"] == "system" for message in kept) == sum(m["role"] == "system" for m in messages)
    if any(message["role"] == "user" for message in messages):
        newest = next(message for message in reversed(messages) if message["role"] == "user")
        last = next(message for message in reversed(kept) if message["role"] == "user")
        assert newest["content"].endswith(last["content"])
    if count(messages) <= room:
        assert kept == messages
