from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.diffusion import (
    DiffusionChatParams,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionStreamEvent,
)
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.constraint import Constraint
from app.services.diffusion.models import ChatMessage, Params
from app.services.diffusion.requests.line_ends import token_with
from app.text.line_ends import LineEnds, to_lf
from tests.profiles import examples
from tests.unit.services.diffusion.serving import serving

FACES = ("generate", "infill", "chat")
lines = st.text("ab\n", min_size=1, max_size=8)
answers = st.lists(st.text("ab\r\n", max_size=4), max_size=6)
stops = st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=2)


class LinesModel(DiffusionModel):
    """Answers with the same tokens each time, notes them, and draws them."""

    gives_logprobs = True

    def __init__(self, tokens: Sequence[str]) -> None:
        super().__init__("lines")
        self.tokens = list(tokens)
        self.seen: list[Any] = []

    def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        return self._events(params)

    def infill_stream(self, params: DiffusionInfillingParams) -> AsyncIterator[DiffusionStreamEvent]:
        return self._events(params)

    async def _events(self, params: Params) -> AsyncIterator[DiffusionStreamEvent]:
        self.seen.append(params.model_dump(include={"text", "prefix", "suffix", "messages"}))
        committed = [{"index": index, "text": token, "confidence": 0.5} for index, token in enumerate(self.tokens)]
        yield DiffusionStreamEvent(type="step", data={"canvas": [*self.tokens, None], "committed": committed})
        for token in self.tokens:
            noted = {"token": token, "bytes": list(token.encode()), "logprob": -1.0}
            metadata = {"logprobs": [{**noted, "top": [noted]}]}
            yield DiffusionStreamEvent(type="token", data=token, metadata=metadata)


def request(face: str, text: str, **options: Any) -> Params:
    if face == "infill":
        return DiffusionInfillingParams(prefix=text, suffix=text, **options)
    if face == "chat":
        return DiffusionChatParams(messages=[ChatMessage(role="user", content=text)], **options)
    return DiffusionGenerationParams(text=text, **options)


def events_of(model: LinesModel, *asked: Params) -> list[list[DiffusionStreamEvent]]:
    async def answered() -> list[list[DiffusionStreamEvent]]:
        async with serving(model) as service:
            answers = []
            for params in asked:
                if isinstance(params, DiffusionInfillingParams):
                    answers.append([event async for event in service.infill_stream(params)])
                else:
                    answers.append([event async for event in service.generate_stream(params)])
            return answers

    return asyncio.run(answered())


def pieces_of(events: list[DiffusionStreamEvent]) -> list[str]:
    return [event.data for event in events if event.type == "token"]


@examples(60)
@given(st.sampled_from(FACES), lines, answers, stops, st.sampled_from(["\r\n", "\r"]))
def test_other_line_ends_change_nothing_else(
    face: str, text: str, tokens: list[str], stop: list[str], line_end: str
) -> None:
    model = LinesModel(tokens)
    text += "\n"
    options: dict[str, Any] = {"stop": stop, "logprobs": 1, "seed": 1}
    plain, other = events_of(
        model, request(face, text, **options), request(face, text.replace("\n", line_end), **options)
    )
    assert model.seen[0] == model.seen[1]
    written = "".join(pieces_of(plain))
    assert [piece.replace("\n", line_end) for piece in pieces_of(plain)] == pieces_of(other)
    assert "\r" not in written
    counts = [
        {name: events[-1].metadata[name] for name in ("tokens_generated", "finish_reason")} for events in (plain, other)
    ]
    assert counts[0] == counts[1]
    notes = [note for event in other for note in event.metadata.get("logprobs", ())]
    answer = "".join(pieces_of(other))
    for note in notes:
        seen = answer[note["offset"] : note["offset"] + len(note["token"])]
        assert seen == note["token"][: len(seen)] or "\r\n" in "".join(tokens)
        assert bytes(note["bytes"]).decode() == note["token"] == note["top"][0]["token"]


@examples(60)
@given(st.text("a\r\n", min_size=1, max_size=6), st.text("a\r\n", min_size=1, max_size=6), answers)
def test_the_whole_is_what_the_model_saw_and_wrote(prefix: str, suffix: str, tokens: list[str]) -> None:
    model = LinesModel(tokens)
    [events] = events_of(model, DiffusionInfillingParams(prefix=prefix, suffix=suffix))
    pieces = pieces_of(events)
    assert model.seen == [{"prefix": to_lf(prefix), "suffix": to_lf(suffix)}]
    if pieces and set(prefix + suffix) & {"\r", "\n"}:
        assert to_lf(prefix + "".join(pieces) + suffix) == to_lf(prefix) + to_lf("".join(tokens)) + to_lf(suffix)
    assert not any(
        one.endswith("\r") and two.startswith("\n") for one, two in pairwise(pieces) if "\n" in prefix + suffix
    )


def test_a_canvas_has_the_line_ends_of_the_text() -> None:
    [events] = events_of(LinesModel(["a\n", "\r", "\nb"]), request("generate", "x\r\n", stream_mode="canvas"))
    [step] = [event.data for event in events if event.type == "step"]
    assert step["canvas"] == ["a\r\n", "\r\n", "b", None]
    assert [commit["text"] for commit in step["committed"]] == ["a\r\n", "\r\n", "\r\nb"]
    assert "".join(pieces_of(events)) == "a\r\n\r\nb"


@pytest.mark.parametrize("face", FACES)
def test_under_a_constraint_line_ends_stay_as_they_are_written(face: str) -> None:
    model = LinesModel(["a\n", "\r\n", "b"])
    model.constrains = True
    constraint = Constraint(regex=r"[a-z\s]+")
    [events] = events_of(model, request(face, "x\r\ny\r", constraint=constraint))
    assert "".join(pieces_of(events)) == "a\n\r\nb"


@pytest.mark.parametrize("stop", ["\nb", "\r\nb", "\rb"])
def test_a_stop_string_is_found_whatever_its_line_ends(stop: str) -> None:
    [events] = events_of(LinesModel(["a", "\n", "b"]), request("generate", "x\r\n", stop=[stop]))
    assert pieces_of(events) == ["a"]
    assert (events[-1].metadata["finish_reason"], events[-1].metadata["tokens_generated"]) == ("stop", 1)


def test_the_bytes_of_a_token_may_end_inside_a_character() -> None:
    noted = {"token": "\n\ufffd", "bytes": [0x0A, 0xE2], "logprob": -1.0, "top": []}
    assert token_with(LineEnds("\r\n"), noted) == {**noted, "token": "\r\n\ufffd", "bytes": [0x0D, 0x0A, 0xE2]}
