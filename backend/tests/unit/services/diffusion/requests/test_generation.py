import asyncio
import gc
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.diffusion import (
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionLLMService,
    DiffusionStreamEvent,
    GenerationCancelled,
    GenerationFailed,
    GenerationTimeout,
    InvalidParameters,
    Overloaded,
    UnknownModel,
)
from app.services.diffusion.requests.reply import Send
from app.services.diffusion.requests.run import Run
from tests.fakes import BreakingModel, CanvasModel, GatedModel, StubbornModel, WordsModel
from tests.profiles import examples
from tests.unit.services.diffusion.content_filter.test_content_filter import Shouting
from tests.unit.services.diffusion.serving import assert_law, serving, until


async def events_of(generation: Any) -> list[DiffusionStreamEvent]:
    return [event async for event in generation]


def text_of(events: list[DiffusionStreamEvent]) -> str:
    return "".join(event.data for event in events if event.type == "token")


async def test_awaited_it_is_the_result() -> None:
    async with serving(WordsModel()) as service:
        result = await service.generate_stream("count", seed=7)
    assert str(result) == result.text == "one two three"
    assert result.success
    assert (result.model_id, result.tokens_generated) == ("words", 3)
    assert result.metadata["finish_reason"] == "stop"
    assert result.metadata["seed"] == 7
    assert result.metadata["device"] == "cpu"
    assert result.processing_time == result.metadata["processing_time"] >= result.metadata["queue_time"] >= 0


async def test_iterated_it_is_the_events() -> None:
    async with serving(WordsModel()) as service:
        events = await events_of(service.generate_stream("count"))
    assert [event.type for event in events] == ["start", "token", "token", "token", "complete"]
    start, complete = events[0].metadata, events[-1].metadata
    assert start.keys() == {"request_id", "model_id", "device", "seed", "prompt_tokens"}
    assert start["request_id"] == complete["request_id"]
    assert start["seed"] == complete["seed"]


@examples(50)
@given(st.lists(st.text(max_size=5), max_size=6), st.lists(st.text(min_size=1, max_size=2), max_size=3))
def test_the_events_and_the_result_hold_the_same_text(words: list[str], stops: list[str]) -> None:
    async def compare() -> None:
        async with serving(WordsModel(words=words)) as service:
            result = await service.generate_stream("x", stop=stops)
            events = await events_of(service.generate_stream("x", stop=stops))
        assert text_of(events) == result.text
        assert events[-1].metadata["tokens_generated"] == result.tokens_generated

    asyncio.run(compare())


async def test_infilling_takes_the_same_way() -> None:
    model = WordsModel()
    async with serving(model) as service:
        result = await service.infill_stream("left", "right", max_length=5)
    assert result.text == "one two three"
    assert model.seen[0].model_dump(include={"prefix", "suffix", "max_length"}) == {
        "prefix": "left",
        "suffix": "right",
        "max_length": 5,
    }


async def test_it_costs_nothing_before_its_first_use() -> None:
    model = WordsModel()
    async with serving(model) as service:
        service.generate_stream("never used")
        closed = service.generate_stream("closed unused")
        await closed.aclose()
        await asyncio.sleep(0)
        assert not model.seen
        assert service.statistics().total_requests == 0
        with pytest.raises(GenerationCancelled):
            await closed


@pytest.mark.parametrize("first", ["await", "iterate"])
@pytest.mark.parametrize("second", ["await", "iterate"])
async def test_it_has_one_consumer(first: str, second: str) -> None:
    async with serving(WordsModel()) as service:
        generation = service.generate_stream("x")
        await (generation if first == "await" else events_of(generation))
        with pytest.raises(RuntimeError, match="has its consumer already"):
            await (generation if second == "await" else events_of(generation))


async def test_accepted_waits_for_the_first_event_and_leaves_it() -> None:
    async with serving(GatedModel()) as service:
        generation = service.generate_stream("x")
        await generation.accepted()
        assert (await anext(generation)).type == "start"
        await generation.accepted()
        await generation.aclose()


async def test_accepted_raises_the_error_that_comes_before_the_first_event() -> None:
    async with serving(WordsModel()) as service:
        generation = service.generate_stream("x", model_id="nobody")
        with pytest.raises(UnknownModel):
            await generation.accepted()
        with pytest.raises(UnknownModel):
            await events_of(generation)


async def test_a_slow_reader_holds_no_slot_and_loses_no_text() -> None:
    async with serving(CanvasModel(num_steps=50), max_concurrent_requests=1) as service:
        generation = service.generate_stream("x", stream_mode="canvas")
        await generation.accepted()
        assert (await service.generate_stream("y")).text  # though the first has not been read
        events = await events_of(generation)
    assert text_of(events) == "".join(f"{step} " for step in range(50))
    steps = [event.data["step"] for event in events if event.type == "step"]
    assert steps == [49]


async def test_steps_are_for_those_who_ask() -> None:
    async with serving(CanvasModel(num_steps=3)) as service:
        assert {event.type for event in await events_of(service.generate_stream("x"))} == {"start", "token", "complete"}


# -- how it ends -----------------------------------------------------------------------------------------------------


async def test_a_model_that_breaks_ends_a_stream_with_an_error_event() -> None:
    async with serving(BreakingModel()) as service:
        events = await events_of(service.generate_stream("x"))
        assert [event.type for event in events] == ["start", "token", "error"]
        assert events[-1].metadata == {"code": "generation_failed", "request_id": events[0].metadata["request_id"]}
        assert "secret" not in events[-1].data
        with pytest.raises(GenerationFailed):
            await service.generate_stream("x")
        assert service.statistics().failed_requests == 2


async def test_an_error_before_the_first_event_is_raised() -> None:
    async with serving(BreakingModel(words=[])) as service:
        with pytest.raises(GenerationFailed):
            await events_of(service.generate_stream("x"))


async def test_the_deadline_counts_from_arrival() -> None:
    async with serving(GatedModel(), timeout_seconds=0.05, max_concurrent_requests=1) as service:
        holder = service.generate_stream("x")
        await holder.accepted()
        with pytest.raises(GenerationTimeout, match=r"timeout_seconds=0\.05"):
            await service.generate_stream("waits for the place only")
        events = await events_of(holder)
        assert events[-1].type == "error"
        assert events[-1].metadata["code"] == "timeout"
        assert events[-1].metadata["partial"] is True
        assert events[-1].metadata["text"] == "before "
        assert service.statistics().failed_requests == 2


async def test_a_timeout_carries_the_text_so_far() -> None:
    async with serving(GatedModel(), timeout_seconds=0.02) as service:
        with pytest.raises(GenerationTimeout) as caught:
            await service.generate_stream("x")
    assert caught.value.partial_text == "before "


async def test_a_models_own_timeout_error_is_a_failure() -> None:
    class Impatient(WordsModel):
        async def generate_stream(self, params: Any) -> Any:
            yield DiffusionStreamEvent(type="token", data="a")
            raise TimeoutError

    async with serving(Impatient()) as service:
        with pytest.raises(GenerationFailed):
            await service.generate_stream("x")


async def test_closing_frees_the_slot() -> None:
    model = GatedModel()
    async with serving(model, max_concurrent_requests=1) as service:
        async with service.generate_stream("x") as generation:
            await generation.accepted()
            assert model.num_open == 1
        assert model.num_open == 0
        assert service.statistics().cancelled_requests == 1
        model.release.set()
        assert (await service.generate_stream("y")).text == "before after"


async def test_an_abandoned_iterator_frees_its_slot() -> None:
    model = GatedModel()
    async with serving(model) as service:
        async for _event in service.generate_stream("x"):
            break
        gc.collect()
        await until(lambda: service.statistics().cancelled_requests == 1)
        assert model.num_open == 0


@pytest.mark.parametrize("how", ["await", "iterate"])
async def test_a_cancelled_consumer_gives_the_request_up(how: str) -> None:
    model = GatedModel()
    async with serving(model) as service:
        generation = service.generate_stream("x")

        async def consume() -> None:
            await (generation if how == "await" else events_of(generation))

        consumer = asyncio.create_task(consume())
        await until(lambda: model.num_open == 1)
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert model.num_open == 0
        assert service.statistics().cancelled_requests == 1


async def test_a_consumer_learns_that_another_closed_the_request() -> None:
    async with serving(GatedModel()) as service:
        generation = service.generate_stream("x")
        consumer = asyncio.ensure_future(generation)
        await asyncio.sleep(0.01)
        await generation.aclose()
        with pytest.raises(GenerationCancelled):
            await consumer


async def test_closing_during_the_first_use_leaves_no_request_waiting() -> None:
    async with serving(GatedModel()) as service:
        generation = service.generate_stream("x")
        consumer = asyncio.ensure_future(generation)
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(generation.aclose()))
        with pytest.raises(GenerationCancelled):
            await asyncio.wait_for(consumer, 30)


async def test_a_model_that_swallows_its_cancellation_is_stopped_all_the_same() -> None:
    async with serving(StubbornModel("stubborn")) as service:
        generation = service.generate_stream("x")
        await generation.accepted()
        await asyncio.wait_for(generation.aclose(), 30)
        assert service.statistics().cancelled_requests == 1


async def test_the_deadline_holds_for_a_model_that_swallows_it() -> None:
    async with serving(StubbornModel("stubborn"), timeout_seconds=0.02) as service:
        with pytest.raises(GenerationTimeout):
            await asyncio.wait_for(service.generate_stream("x")._collect(), 30)


async def test_the_end_of_the_service_ends_its_requests() -> None:
    async with serving(GatedModel()) as service:
        generation = service.generate_stream("x")
        await generation.accepted()
        await service.close()
        assert (await events_of(generation))[-1].metadata["code"] == "cancelled"


async def test_everything_is_settled_when_the_result_is_there() -> None:
    async with serving(WordsModel(), max_concurrent_requests=1, max_queued_requests=0) as service:
        for count in range(1, 20):
            await service.generate_stream("x")
            assert service.statistics().successful_requests == count
            assert service.statistics().requests_in_flight == 0


# -- stop strings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "text", "num_tokens"),
    [("wo", "one t", 2), (["e t"], "on", 1), (["thr", "two"], "one ", 2), ("absent", "one two three", 3)],
)
async def test_stop_strings_across_events(stop: Any, text: str, num_tokens: int) -> None:
    async with serving(WordsModel()) as service:
        result = await service.generate_stream("x", stop=stop)
    assert (result.text, result.tokens_generated, result.metadata["finish_reason"]) == (text, num_tokens, "stop")


async def test_a_stop_string_ends_the_models_work() -> None:
    model = GatedModel()
    async with serving(model) as service:
        assert (await service.generate_stream("x", stop="ore")).text == "bef"
        assert model.num_open == 0
        assert service.statistics().successful_requests == 1


# -- what models may do ----------------------------------------------------------------------------------------------


async def test_the_reports_of_a_model_are_passed_on() -> None:
    class Talkative(WordsModel):
        async def generate_stream(self, params: Any) -> Any:
            yield DiffusionStreamEvent(type="start", metadata={"prompt_tokens": 4, "device": "tpu"})
            yield DiffusionStreamEvent(type="token", data="a", metadata={"tokens": 5, "denoising_steps": 2})
            told = {"finish_reason": "length", "tokens_generated": 6, "denoising_steps": 3, "model_id": "a liar"}
            yield DiffusionStreamEvent(type="complete", metadata=told)
            raise AssertionError("read beyond the end")

    async with serving(Talkative()) as service:
        events = await events_of(service.generate_stream("x"))
        stopped = await service.generate_stream("x", stop="a")
    assert events[0].metadata["prompt_tokens"] == 4
    assert events[0].metadata["device"] == "tpu"
    assert events[1].metadata == {}
    complete = events[-1].metadata
    assert (complete["finish_reason"], complete["tokens_generated"], complete["denoising_steps"]) == ("length", 6, 3)
    assert complete["model_id"] == "words"
    assert (stopped.tokens_generated, stopped.metadata["denoising_steps"]) == (0, 2)


async def test_a_model_without_a_word_gives_an_empty_answer() -> None:
    async with serving(WordsModel(words=[])) as service:
        assert [event.type for event in await events_of(service.generate_stream("x"))] == ["start", "complete"]


async def test_a_stream_may_be_returned_by_a_coroutine() -> None:
    class Roundabout(WordsModel):
        async def generate_stream(self, params: Any) -> Any:  # type: ignore[override]
            return super()._events(params)

    async with serving(Roundabout()) as service:
        assert (await service.generate_stream("x")).text == "one two three"


@pytest.mark.parametrize(
    "wrong",
    [
        "text",
        DiffusionStreamEvent(type="token", data=3),
        DiffusionStreamEvent(type="token", data="a", metadata={"tokens": "many"}),
        DiffusionStreamEvent(type="complete", metadata={"tokens_generated": "many"}),
    ],
)
async def test_a_stream_of_wrong_things_is_a_failure(wrong: Any) -> None:
    class Wrong(WordsModel):
        async def generate_stream(self, params: Any) -> Any:
            yield wrong

    async with serving(Wrong()) as service:
        with pytest.raises(GenerationFailed):
            await service.generate_stream("x")
        assert service.statistics().failed_requests == 1


async def test_an_error_event_of_a_model_is_a_failure() -> None:
    class Sorry(WordsModel):
        async def generate_stream(self, params: Any) -> Any:
            yield DiffusionStreamEvent(type="error", data="no paper")

    async with serving(Sorry()) as service:
        with pytest.raises(GenerationFailed, match="no paper"):
            await service.generate_stream("x")


async def test_a_refusal_by_the_model_names_its_field() -> None:
    class Picky(WordsModel):
        async def generate_stream(self, params: Any) -> Any:
            if params.text == "x":
                raise InvalidParameters("no", field="text")
            yield

    async with serving(Picky()) as service:
        with pytest.raises(InvalidParameters) as caught:
            await service.generate_stream("x")
    assert caught.value.field == "text"


# -- each ends once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
async def test_each_request_is_counted_once_under_random_interleavings(seed: int) -> None:
    rng = random.Random(seed)
    models = [WordsModel(), GatedModel(), BreakingModel(), BreakingModel("mute", words=[]), StubbornModel("stubborn")]
    limits = {"max_concurrent_requests": 3, "max_queued_requests": 8, "timeout_seconds": 0.15}
    async with serving(*models, **limits) as service:
        callers = [asyncio.create_task(call(service, rng, rng.choice(models).model_id)) for _ in range(60)]
        for _ in range(30):
            await asyncio.sleep(rng.choice([0, 0, 0.002]))
            rng.choice(callers).cancel()
            assert_law(service)
        await asyncio.wait(callers)
        gc.collect()
        await until(lambda: service.statistics().requests_in_flight == 0)
        assert service._gate.num_running == service._gate.num_waiting == 0
        assert all(model.num_open == 0 for model in models if isinstance(model, GatedModel))
        assert service.statistics().total_requests <= 60


async def call(service: DiffusionLLMService, rng: random.Random, model_id: str) -> None:
    for _ in range(rng.randint(0, 20)):
        await asyncio.sleep(0)
    generation = service.generate_stream("x", model_id=model_id)
    how = rng.random()
    try:
        if how < 0.4:
            await generation
        elif how < 0.7:
            await events_of(generation)
        elif how < 0.85:
            async for _event in generation:
                break
        else:
            await generation.accepted()
            await generation.aclose()
    except (GenerationFailed, GenerationTimeout, GenerationCancelled, Overloaded):
        pass  # each is a right end here; what counts is that it is counted


async def test_a_defect_in_our_own_code_is_an_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def execute(run: Run, emit: Send) -> DiffusionStreamEvent:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Run, "execute", execute)
    async with serving(WordsModel()) as service, asyncio.timeout(30):
        with pytest.raises(GenerationFailed, match="log says why"):
            await service.generate_stream("x")


class TellingModel(WordsModel):
    """Says a log-probability of each word."""

    gives_logprobs = True

    async def _events(
        self, params: DiffusionGenerationParams | DiffusionInfillingParams
    ) -> AsyncIterator[DiffusionStreamEvent]:
        async for event in super()._events(params):
            yield event.model_copy(update={"metadata": {"logprobs": [{"token": event.data, "logprob": -0.5}]}})


async def test_logprobs_come_with_the_text_and_end_with_it() -> None:
    async with serving(TellingModel()) as service:
        events = await events_of(service.generate_stream("x", logprobs=0, stop="thr"))
        result = await service.generate_stream("x", logprobs=0, stop="thr")
        assert "logprobs" not in (await service.generate_stream("x")).metadata
    told = [each for event in events for each in event.metadata.get("logprobs", ())]
    assert told == result.metadata["logprobs"]
    assert [(each["token"], each["offset"]) for each in told] == [("one", 0), (" two", 3), (" three", 7)]
    assert result.text == "one two "


async def test_logprobs_are_refused_where_there_are_none() -> None:
    async with serving(WordsModel()) as service:
        with pytest.raises(InvalidParameters, match="'words' gives no logprobs"):
            await service.generate_stream("x", logprobs=1)


async def test_logprobs_are_refused_where_they_would_reveal_hidden_text() -> None:
    async with serving(TellingModel()) as service:
        service.content_filter = Shouting()
        with pytest.raises(InvalidParameters, match="content filter") as refusal:
            await service.generate_stream("x", logprobs=1)
    assert refusal.value.field == "logprobs"
