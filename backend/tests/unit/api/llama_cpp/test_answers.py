from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from app.api.llama_cpp.answers import InfillAnswer, in_time
from app.api.llama_cpp.requests import InfillRequest
from app.services.diffusion import DiffusionGenerationParams, DiffusionInfillingParams, DiffusionStreamEvent
from tests.fakes import WordsModel
from tests.unit.services.diffusion.serving import serving

COMPLETE = {"model_id": "m", "prompt_tokens": 4, "tokens_generated": 3, "finish_reason": "stop", "seed": 9}


PROGRESS = {"prompt_tokens": 4, "truncated_prompt_tokens": 0, "tokens_generated": 2}


def answered(asked: InfillRequest, progress: Mapping[str, int] = PROGRESS) -> InfillAnswer:
    answer = InfillAnswer(
        asked, index=1, model_id="m", n_ctx={"m": 512, "its stand-in": 2048}.__getitem__, progress=lambda: progress
    )
    answer.take(DiffusionStreamEvent(type="start", metadata={"model_id": "m", "prompt_tokens": 4, "seed": 9}))
    for text in ("a", "b"):
        answer.take(DiffusionStreamEvent(type="token", data=text))
    return answer


async def test_an_answer_equals_the_text_of_the_events() -> None:
    answer = answered(InfillRequest(input_prefix="x", n_predict=5))
    answer.take(DiffusionStreamEvent(type="complete", metadata=COMPLETE))
    whole = answer.whole()
    assert (whole["content"], whole["stop"], whole["index"], whole["model"]) == ("ab", True, 1, "m")
    assert (whole["tokens_predicted"], whole["tokens_evaluated"], whole["stop_type"]) == (3, 4, "eos")
    assert (whole["generation_settings"]["n_ctx"], whole["generation_settings"]["n_predict"]) == (512, 5)
    assert whole["timings"]["predicted_n"] == 3
    last = answer.last()
    assert (last["content"], last.keys()) == ("", whole.keys())


async def test_the_context_is_that_of_the_model_that_answered() -> None:
    answer = answered(InfillRequest(input_prefix="x"))
    answer.take(DiffusionStreamEvent(type="complete", metadata={**COMPLETE, "model_id": "its stand-in"}))
    assert answer.whole()["generation_settings"]["n_ctx"] == 2048


async def test_a_stop_string_is_reported() -> None:
    answer = answered(InfillRequest(input_prefix="x", stop=["c"]))
    answer.take(DiffusionStreamEvent(type="complete", metadata={**COMPLETE, "stop_string": "c"}))
    assert (answer.whole()["stop_type"], answer.whole()["stopping_word"]) == ("word", "c")


async def test_truncated_tokens_are_not_counted() -> None:
    answer = answered(InfillRequest(input_prefix="x"))
    answer.take(DiffusionStreamEvent(type="complete", metadata={**COMPLETE, "truncated_prompt_tokens": 3}))
    assert (answer.whole()["tokens_evaluated"], answer.whole()["truncated"]) == (1, True)


async def test_only_requested_fields_are_in_the_answer() -> None:
    asked = InfillRequest(input_prefix="x", response_fields=["content", "timings/prompt_n", "truncated", "no/such", ""])
    assert answered(asked).whole() == {"content": "ab", "timings/prompt_n": 4, "truncated": False}
    assert answered(asked).last() == {"content": "", "timings/prompt_n": 4, "truncated": False}


async def test_one_that_was_cut_off_has_reached_a_limit() -> None:
    whole = answered(InfillRequest(input_prefix="x" * 5_001)).whole()
    assert (whole["stop_type"], whole["tokens_predicted"], whole["truncated"]) == ("limit", 2, True)


async def test_one_that_was_cut_off_counts_tokens_and_no_pieces() -> None:
    progress = {"prompt_tokens": 4, "truncated_prompt_tokens": 3, "tokens_generated": 7}
    whole = answered(InfillRequest(input_prefix="x"), progress).whole()
    assert (whole["tokens_predicted"], whole["tokens_evaluated"], whole["truncated"]) == (7, 1, True)


class SlowWords(WordsModel):
    """A word every 20 ms."""

    async def _events(
        self, params: DiffusionGenerationParams | DiffusionInfillingParams
    ) -> AsyncIterator[DiffusionStreamEvent]:
        async for event in super()._events(params):
            yield event
            await asyncio.sleep(0.02)


async def test_a_line_that_is_there_in_time_is_enough() -> None:
    async with serving(SlowWords(words=["a", "\n", *"word " * 50])) as service:
        events = [event async for event in in_time(service.infill_stream("x"), limit_ms=30)]
        counted = service.statistics()
    assert (counted.successful_requests, counted.cancelled_requests) == (1, 0)
    assert events[-1].type == "token"
    assert 3 <= len(events) < 50


async def test_without_a_line_or_a_limit_there_is_time() -> None:
    async with serving(SlowWords(words=["a", "b", "c"])) as service:
        hasty = [event.type async for event in in_time(service.infill_stream("x"), limit_ms=1)]
        patient = [event.type async for event in in_time(service.infill_stream("x"), limit_ms=None)]
    assert hasty == patient == ["start", "token", "token", "token", "complete"]
