import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.services.diffusion import (
    ChatMessage,
    ContentFilter,
    ContentRejected,
    DiffusionChatParams,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionStreamEvent,
    GenerationFailed,
    OutputFilter,
)
from app.services.diffusion.content_filter.content_filter import FilteredOutput, filtered_input
from tests.fakes import WordsModel, token
from tests.unit.services.diffusion.documentation import documented
from tests.unit.services.diffusion.serving import serving


class Shouting(ContentFilter):
    """Knows no questions, and answers in capitals, one piece later than it could."""

    async def filter_input(self, text: str, *, field: str) -> str:
        if "?" in text:
            raise ContentRejected("no questions", field=field)
        return f"<{text}>" if text != "hush" else ""

    def open_output(self) -> OutputFilter:
        return ShoutingOutput()


class ShoutingOutput(OutputFilter):
    def __init__(self) -> None:
        self._held = ""

    async def feed(self, text: str) -> str:
        shown, self._held = self._held, text.upper()
        return shown

    async def flush(self) -> str:
        return self._held + "!"


class Broken(ContentFilter):
    async def filter_input(self, text: str, *, field: str) -> str:
        return text

    def open_output(self) -> OutputFilter:
        return BrokenOutput()


class BrokenOutput(OutputFilter):
    async def feed(self, text: str) -> str:
        raise RuntimeError("secret detail")

    async def flush(self) -> str:
        return ""


class Stepping(WordsModel):
    """Shows its canvas before it says anything."""

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        yield DiffusionStreamEvent(type="step", data={"canvas": ["one", None], "note": "whatever"})
        yield token("one")


async def test_a_user_s_own_filter_sees_all_input_and_output() -> None:
    model = WordsModel()
    async with serving(model) as service:
        service.content_filter = Shouting()
        result = await service.generate_stream("count")
        events = [event async for event in service.infill_stream("left", "right")]
    assert result.text == "ONE TWO THREE!"
    assert [event.data for event in events if event.type == "token"] == ["ONE", " TWO", " THREE!"]
    texts = [seen.model_dump(include={"text", "prefix", "suffix"}) for seen in model.seen]
    assert texts == [{"text": "<count>"}, {"prefix": "<left>", "suffix": "<right>"}]


async def test_it_may_refuse_and_no_model_is_asked() -> None:
    model = WordsModel()
    async with serving(model) as service:
        service.content_filter = Shouting()
        with pytest.raises(ContentRejected, match="no questions") as caught:
            await service.infill_stream("left?", "right")
        assert (service.statistics().refused_requests, service.statistics().total_requests) == (1, 0)
    assert caught.value.field == "prefix"
    assert not model.seen


async def test_a_filter_that_leaves_nothing_refuses() -> None:
    async with serving(WordsModel()) as service:
        service.content_filter = Shouting()
        with pytest.raises(ContentRejected, match="text is left empty by the content filter"):
            await service.generate_stream("hush")


async def test_a_filter_that_breaks_lets_nothing_through(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(WordsModel()) as service:
        service.content_filter = Broken()
        with caplog.at_level(logging.ERROR), pytest.raises(GenerationFailed, match="content filter broke"):
            await service.generate_stream("count")
    assert "secret detail" in caplog.text


async def test_a_filter_without_canvas_support_hides_the_whole_canvas() -> None:
    async with serving(Stepping()) as service:
        plain = [event.data async for event in service.generate_stream("x", stream_mode="canvas")]
        service.content_filter = Shouting()
        hidden = [event.data async for event in service.generate_stream("x", stream_mode="canvas")]
    assert plain[1] == {"canvas": ["one", None], "note": "whatever"}
    assert hidden[1]["canvas"] == ["▒", None]
    assert "note" not in hidden[1]


async def test_the_example_of_the_documentation() -> None:
    async def is_harmful(text: str) -> bool:
        return "two" in text

    async with serving(WordsModel(words=["One. Tw", "o. ", "Three"])) as service:
        exec(documented("python"), {"is_harmful": is_harmful, "service": service})
        result = await service.generate_stream("count")
        service_filter = service.content_filter
        assert service_filter is not None
        with pytest.raises(ContentRejected, match="refuses it"):
            await service.generate_stream("one, two")
    async with serving(WordsModel(words=["One. ", "t", "wo. ", "Three"])) as service:
        service.content_filter = service_filter
        events = [event async for event in service.generate_stream("count")]
    assert result.text == "One. Two. Three"
    assert [event.data for event in events[1:]] == ["One. ", "the classifier refuses the answer"]


class Patient(OutputFilter):
    """Holds everything back until the end."""

    def __init__(self, ending: str = "") -> None:
        self._text = ""
        self._ending = ending

    async def feed(self, text: str) -> str:
        self._text += text
        return ""

    async def flush(self) -> str:
        return self._text[: len(self._text) - len(self._ending)]


class Waits(ContentFilter):
    async def filter_input(self, text: str, *, field: str) -> str:
        return text

    def open_output(self) -> OutputFilter:
        return Patient()


class Cuts(Waits):
    def open_output(self) -> OutputFilter:
        return Patient("}")


@pytest.mark.parametrize(("content_filter", "is_refused"), [(Waits(), False), (Cuts(), True), (Shouting(), True)])
async def test_a_filter_may_not_change_an_answer_under_a_constraint(
    content_filter: ContentFilter, is_refused: bool
) -> None:
    model = WordsModel(words=['{"a"', ":1}"])
    model.constrains = True
    async with serving(model) as service:
        service.content_filter = content_filter
        asked: dict[str, Any] = {"constraint": {"json_schema": {"type": "object"}}}
        assert (await service.generate_stream("x")).success
        if is_refused:
            with pytest.raises(ContentRejected, match="would change the answer"):
                await service.generate_stream("x", **asked)
        else:
            assert (await service.generate_stream("x", **asked)).text == '{"a":1}'


async def test_filters_stand_in_a_row() -> None:
    output = FilteredOutput([Shouting(), Shouting()])
    assert [await output.feed(text) for text in ("a", "b", "c")] == ["", "", "A"]
    assert await output.flush() == "BC!!"
    assert output.text == "ABC!!"
    params = await filtered_input(DiffusionInfillingParams(prefix="a"), [Shouting(), Shouting()])
    assert (params.model_dump(include={"prefix", "suffix"})) == {"prefix": "<<a>>", "suffix": ""}


async def test_without_filters_nothing_is_touched() -> None:
    params = DiffusionGenerationParams(text="a")
    assert await filtered_input(params, []) is params
    output = FilteredOutput()
    assert (await output.feed("a"), await output.flush(), output.text) == ("a", "", "a")
    data = {"any": "shape"}
    assert await output.filter_step(data) is data


async def test_each_turn_of_a_conversation_is_filtered() -> None:
    turns = [ChatMessage(role="system", content=""), ChatMessage(role="user", content="a")]
    filtered = await filtered_input(DiffusionChatParams(messages=turns), [Shouting()])
    assert isinstance(filtered, DiffusionChatParams)
    assert [turn.content for turn in filtered.messages] == ["", "<a>"]
    assert filtered.text == "System: \n\nUser: <a>\n\nAssistant:"
    with pytest.raises(ContentRejected) as refusal:
        await filtered_input(
            DiffusionChatParams(messages=[*turns, ChatMessage(role="user", content="b?")]), [Shouting()]
        )
    assert refusal.value.field == "messages[2]"


async def test_tools_are_filtered_as_a_whole() -> None:
    turns = [ChatMessage(role="user", content="a")]
    tools = [{"type": "function", "function": {"name": "b"}}]
    params = DiffusionChatParams(messages=turns, tools=tools)
    assert (await filtered_input(params, [Waits()])).tools == tools  # type: ignore[union-attr]
    with pytest.raises(ContentRejected, match="would change tools") as refusal:
        await filtered_input(params, [Shouting()])
    assert refusal.value.field == "tools"
    with pytest.raises(ContentRejected, match="no questions"):
        await filtered_input(params.model_copy(update={"tools": [{"name": "b?"}]}), [Shouting()])


async def test_texts_among_the_options_of_a_template_are_filtered_too() -> None:
    turns = [ChatMessage(role="user", content="a")]
    options: dict[str, Any] = {"style": "b", "level": 2, "nothing": "", "thinks": False}
    filtered = await filtered_input(DiffusionChatParams(messages=turns, chat_template_kwargs=options), [Shouting()])
    assert isinstance(filtered, DiffusionChatParams)
    assert filtered.chat_template_kwargs == {**options, "style": "<b>"}
    with pytest.raises(ContentRejected) as refusal:
        await filtered_input(DiffusionChatParams(messages=turns, chat_template_kwargs={"style": "b?"}), [Shouting()])
    assert refusal.value.field == "chat_template_kwargs.style"
