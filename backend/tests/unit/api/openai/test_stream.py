from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, TypeAlias

import pytest
from starlette.requests import Request

from app.api.openai.answers import CHAT, FIM, TEXT, Choice, Form, calling, usage_of
from app.api.openai.requests import CompletionRequest
from app.api.openai.stream import Chunks
from app.api.streams.choices import close_choices, merged, start_choices, written
from app.services.diffusion import (
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionLLMService,
    DiffusionStreamEvent,
    Generation,
    Overloaded,
)
from app.services.diffusion.metadata import AnswerMetadata
from tests.fakes import BreakingModel, GatedModel, WordsModel
from tests.unit.api.asgi import http_scope
from tests.unit.services.diffusion.serving import serving

MakeWriter: TypeAlias = Callable[..., Chunks]


def asked(service: DiffusionLLMService, *model_ids: str) -> list[Generation]:
    wanted = [DiffusionGenerationParams(text="x", model_id=model_id, seed=4) for model_id in model_ids]
    return start_choices(service, wanted, Request(http_scope()))


def writer(form: Form, *openings: str, num_choices: int = 1, **options: bool) -> MakeWriter:
    asked = CompletionRequest.model_validate({"prompt": "x", "n": num_choices, "stream_options": options})
    return partial(Chunks, form, "1", asked, openings=openings)


async def chunks_of(generations: list[Generation], make_writer: MakeWriter) -> list[dict[str, Any]]:
    """All that was sent, but for the end mark, which must be there unless the last one is an error."""
    writer = make_writer(progress=[generation.progress for generation in generations])
    try:
        sent = b"".join([piece async for piece in written(merged(generations), writer)]).decode()
    finally:
        await close_choices(generations)
    lines = [line.removeprefix("event: diffusion.step\n").removeprefix("data: ") for line in sent.split("\n\n")[:-1]]
    assert lines[-1] == "[DONE]" or "error" in json.loads(lines[-1])
    return [json.loads(line) for line in lines if line != "[DONE]"]


async def test_chat_begins_with_a_role_and_ends_with_a_reason() -> None:
    async with serving(WordsModel()) as service:
        sent = await chunks_of(asked(service, "words"), writer(CHAT, ""))
    assert {(chunk["id"], chunk["object"], chunk["model"]) for chunk in sent} == {
        ("chatcmpl-1", "chat.completion.chunk", "words")
    }
    deltas = [chunk["choices"][0]["delta"] for chunk in sent]
    assert deltas == [
        {"role": "assistant", "content": ""}, {"content": "one"}, {"content": " two"}, {"content": " three"}, {},
    ]  # fmt: skip
    assert [chunk["choices"][0]["finish_reason"] for chunk in sent] == [None, None, None, None, "stop"]
    assert sent[-1]["choices"][0]["seed"] == 4
    assert not any("usage" in chunk for chunk in sent)


async def test_completions_may_begin_with_the_prompt() -> None:
    async with serving(WordsModel()) as service:
        sent = await chunks_of(asked(service, "words"), writer(TEXT, "prompt"))
    assert [chunk["choices"][0]["text"] for chunk in sent] == ["prompt", "one", " two", " three", ""]
    assert sent[0]["object"] == "text_completion"


async def test_fim_speaks_both_dialects() -> None:
    async with serving(WordsModel(words=["a"])) as service:
        sent = await chunks_of(asked(service, "words"), writer(FIM, ""))
    choices = [chunk["choices"][0] for chunk in sent]
    assert [(choice["text"], choice["delta"]["content"]) for choice in choices] == [("", ""), ("a", "a"), ("", "")]


@pytest.mark.parametrize(("is_named", "reason"), [(True, "stop"), (False, "tool_calls")])
async def test_a_call_of_a_function_is_its_name_and_then_its_arguments(is_named: bool, reason: str) -> None:
    form = calling("add", is_named=is_named)
    async with serving(WordsModel(words=['{"a"', ": 1}"])) as service:
        first, *pieces, last = await chunks_of(asked(service, "words"), writer(form, ""))
    (call,) = first["choices"][0]["delta"].pop("tool_calls")
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert re.fullmatch("call_[0-9a-f]{24}", call.pop("id"))
    assert call == {"index": 0, "type": "function", "function": {"name": "add", "arguments": ""}}
    assert [chunk["choices"][0]["delta"] for chunk in pieces] == [
        {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]} for arguments in ('{"a"', ": 1}")
    ]
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, reason)


def test_a_whole_call_has_no_content() -> None:
    form = calling("add", is_named=False)
    message = Choice(index=0, **form.whole("{}")).model_dump(exclude_unset=True)["message"]
    (call,) = message.pop("tool_calls")
    assert message == {"role": "assistant", "content": None}
    assert call.pop("id") != Choice(index=1, **form.whole("{}")).message.tool_calls[0].id  # type: ignore[union-attr, index]
    assert call == {"type": "function", "function": {"name": "add", "arguments": "{}"}}
    cut = AnswerMetadata(finish_reason="length", seed=1)
    assert form.end(cut)["finish_reason"] == "length"


async def test_usage_is_the_last_chunk() -> None:
    async with serving(WordsModel()) as service:
        sent = await chunks_of(
            asked(service, "words", "words"), writer(TEXT, "", "", num_choices=2, include_usage=True)
        )
    assert sent[-1]["choices"] == []
    assert sent[-1]["usage"] == {
        "prompt_tokens": 0, "completion_tokens": 6, "total_tokens": 6,
        "truncated_prompt_tokens": 0, "truncated_prompt_characters": 0,
    }  # fmt: skip
    assert all(chunk["usage"] is None for chunk in sent[:-1])


def test_a_prompt_is_counted_once() -> None:
    counted = [AnswerMetadata(prompt_tokens=tokens, tokens_generated=1) for tokens in (3, 3, 5, 5)]
    usage = usage_of(dict(enumerate(counted)), num_choices=2)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (8, 4, 12)


def test_truncated_tokens_are_no_usage() -> None:
    counted = {0: AnswerMetadata(prompt_tokens=9, truncated_prompt_tokens=4, tokens_generated=2)}
    usage = usage_of(counted, num_choices=1, num_cut_characters=7)
    assert (usage.prompt_tokens, usage.total_tokens, usage.truncated_prompt_tokens) == (5, 7, 4)
    assert usage.truncated_prompt_characters == 7


async def test_every_chunk_may_report_the_usage_so_far() -> None:
    async with serving(WordsModel()) as service:
        told = writer(TEXT, "", "", num_choices=2, include_usage=True, continuous_usage_stats=True)
        sent = await chunks_of(asked(service, "words", "words"), told)
    counts = [chunk["usage"]["completion_tokens"] for chunk in sent]
    assert counts == sorted(counts)
    assert counts[-1] == 6


async def test_a_chunk_says_which_stop_string_ended_the_answer() -> None:
    async with serving(WordsModel()) as service:
        params = DiffusionGenerationParams(text="x", model_id="words", stop=["thr", "tw"])
        sent = await chunks_of([service.generate_stream(params)], writer(TEXT, ""))
    assert [chunk["choices"][0].get("stop_reason") for chunk in sent] == [None, None, None, "tw"]


async def test_a_choice_that_fails_ends_the_call() -> None:
    async with serving(GatedModel(), BreakingModel()) as service:
        sent = await chunks_of(asked(service, "gated", "breaking"), writer(CHAT, "", "", num_choices=2))
    assert (sent[-1]["error"]["code"], sent[-1]["error"]["type"]) == ("generation_failed", "server_error")
    assert "secret" not in json.dumps(sent)


async def test_a_refusal_after_the_beginning_is_a_chunk() -> None:
    """The other choice waits for its place until the deadline."""
    async with serving(GatedModel(), max_concurrent_requests=1, timeout_seconds=0.1) as service:
        sent = await chunks_of(asked(service, "gated", "gated"), writer(TEXT, "", "", num_choices=2))
    assert sent[-1]["error"]["code"] == "timeout"


async def test_a_refusal_before_it_is_raised() -> None:
    async with serving(GatedModel(), max_concurrent_requests=1, max_queued_requests=0) as service:
        with pytest.raises(Overloaded):
            await chunks_of(asked(service, "gated", "gated"), writer(TEXT, "", ""))


class OddModel(WordsModel):
    """Draws its canvas in a way of its own, and ends for a reason of its own."""

    async def _events(
        self, params: DiffusionGenerationParams | DiffusionInfillingParams
    ) -> AsyncIterator[DiffusionStreamEvent]:
        yield DiffusionStreamEvent(type="step", data="a drawing")
        yield DiffusionStreamEvent(type="token", data="half \ud83d pair")
        yield DiffusionStreamEvent(type="complete", metadata={"finish_reason": "tired"})


async def test_a_model_of_ones_own_may_be_odd() -> None:
    async with serving(OddModel("odd")) as service:
        generation = service.generate_stream("x", stream_mode="canvas")
        sent = await chunks_of([generation], writer(CHAT, ""))
    assert [chunk["diffusion"] for chunk in sent if not chunk["choices"]] == [{"data": "a drawing", "index": 0}]
    assert sent[-2]["choices"][0]["delta"]["content"] == "half ? pair"
    assert sent[-1]["choices"][0]["finish_reason"] == "stop"
