import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.diffusion import (
    ContentRejected,
    DiffusionGenerationParams,
    DiffusionLLMService,
    DiffusionModel,
    DiffusionStreamEvent,
    GenerationTimeout,
    InvalidParameters,
)
from app.services.diffusion.content_filter.rules import FilterHit
from tests.fakes import WordsModel, token
from tests.profiles import examples
from tests.unit.services.diffusion.serving import serving

RULES = """
[[rule]]
name = "masked"
terms = ["forbidden", "so bad"]
action = "mask"

[[rule]]
name = "refused"
terms = ["unspeakable"]

[[rule]]
name = "codes"
pattern = 'id-\\d{4}'
action = "mask"
mask = "[id]"
applies_to = ["output"]
"""


class Denoising(DiffusionModel):
    """Decides its pieces in a given order, shows the canvas each time, and says in the end what it has decided."""

    def __init__(self, pieces: Sequence[str], order: Sequence[int]) -> None:
        super().__init__("denoising")
        self.pieces = pieces
        self.order = order

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        canvas: list[str | None] = [None] * len(self.pieces)
        for index in self.order:
            canvas[index] = self.pieces[index]
            committed = [{"index": index, "text": self.pieces[index], "confidence": 0.5}]
            yield DiffusionStreamEvent(type="step", data={"canvas": list(canvas), "committed": committed})
        for piece in self.pieces:
            yield token(piece)


class Hanging(WordsModel):
    """Says its words, and then nothing more."""

    async def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[DiffusionStreamEvent]:
        for word in self.words:
            yield token(word)
        await asyncio.Event().wait()


@pytest.fixture
def rules_file(tmp_path: Path) -> str:
    return written(tmp_path / "rules.toml", RULES)


def written(file: Path, rules: str) -> str:
    file.write_text(rules, encoding="utf-8")
    return str(file)


def hits(service: DiffusionLLMService) -> dict[FilterHit, int]:
    return service.observation().filter_hits


async def texts(generation: Any) -> list[str]:
    return [event.data async for event in generation if event.type == "token"]


async def test_matches_are_masked_in_input_and_output(rules_file: str) -> None:
    model = WordsModel(words=["it is for", "bid", "den", ", id-", "1234", " and", " so", " on"])
    async with serving(model, content_filter=rules_file) as service:
        shown = await texts(service.generate_stream("a FORBIDDEN id-1234"))
        assert hits(service) == {
            FilterHit("masked", "input", "mask"): 1,
            FilterHit("masked", "output", "mask"): 1,
            FilterHit("codes", "output", "mask"): 1,
        }
    assert shown == ["it is ", "*********, ", "[id]", " and", " ", "so on"]
    assert isinstance(model.seen[0], DiffusionGenerationParams)
    assert model.seen[0].text == "a ********* id-1234"


async def test_refusing_a_request(rules_file: str) -> None:
    model = WordsModel()
    async with serving(model, content_filter=rules_file) as service:
        with pytest.raises(ContentRejected) as caught:
            await service.infill_stream("fine", "an Unspeakable word")
        assert hits(service) == {FilterHit("refused", "input", "refuse"): 1}
    assert caught.value.field == "suffix"
    assert str(caught.value) == "suffix is refused by the rule 'refused' of the content filter"
    assert not model.seen


async def test_refusing_an_answer(rules_file: str) -> None:
    model = WordsModel(words=["some ", "un", "speak", "able", " more"])
    async with serving(model, content_filter=rules_file) as service:
        with pytest.raises(ContentRejected) as caught:
            await service.generate_stream("x")
        events = [event async for event in service.generate_stream("x")]
        assert (service.statistics().refused_requests, service.statistics().total_requests) == (2, 0)
        assert hits(service) == {FilterHit("refused", "output", "refuse"): 2}
    assert caught.value.field == ""
    assert [event.type for event in events] == ["start", "token", "error"]
    assert events[1].data == "some "
    assert events[2].metadata["code"] == "content_rejected"
    assert events[2].data == "the answer is refused by the rule 'refused' of the content filter"


async def test_the_filter_comes_after_the_stop_strings(rules_file: str) -> None:
    model = WordsModel(words=["a for", "bid", "den", " word"])
    async with serving(model, content_filter=rules_file) as service:
        stopped = await service.generate_stream("x", stop="bidden")
        whole = await service.generate_stream("x", stop="*")
    assert (stopped.text, stopped.metadata["finish_reason"], stopped.tokens_generated) == ("a for", "stop", 1)
    assert (whole.text, whole.tokens_generated) == ("a ********* word", 4)


async def test_the_partial_text_of_a_timeout_is_filtered(rules_file: str) -> None:
    model = Hanging(words=["a forbidden thing", " is for", "bidden"])
    async with serving(model, content_filter=rules_file, timeout_seconds=0.05) as service:
        with pytest.raises(GenerationTimeout) as caught:
            await service.generate_stream("x")
    assert caught.value.partial_text == "a ********* thing is "


async def test_a_long_text_is_filtered_too(rules_file: str) -> None:
    long = "so bad, id-1234 " * 500
    async with serving(WordsModel(words=[long]), content_filter=rules_file) as service:
        result = await service.generate_stream("x")
        assert hits(service)[FilterHit("masked", "output", "mask")] == 500
    assert result.text == "******, [id] " * 500


@examples(60)
@given(st.data())
def test_no_canvas_shows_forbidden_text(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    words = st.sampled_from(["for", "bid", "den", " forbidden", " so", " bad", " ", "id-", "12", "34", "5", " fine"])
    pieces = data.draw(st.lists(words, min_size=1, max_size=8))
    order = data.draw(st.permutations(range(len(pieces))))
    rules = written(tmp_path_factory.mktemp("rules") / "rules.toml", RULES)

    async def check() -> None:
        async with serving(Denoising(pieces, order), content_filter=rules) as service:
            events = [event async for event in service.generate_stream("x", stream_mode="canvas")]
        # Whatever was shown of a position at any time, put together, is in the filtered text.
        shown: list[str | None] = [None] * len(pieces)
        for event in events:
            if event.type == "step":
                for index, text in enumerate(event.data["canvas"]):
                    shown[index] = text if text not in (None, "▒") else shown[index]
                for commit in event.data["committed"]:
                    assert commit["text"] in ("▒", shown[commit["index"]])
        answer = "".join(event.data for event in events if event.type == "token")
        starred = answer.replace("[id]", "*" * 7)
        assert len(starred) == len("".join(pieces))
        for index, text in enumerate(shown):
            start = len("".join(pieces[:index]))
            assert text is None or starred[start : start + len(pieces[index])] == text

    asyncio.run(check())


async def test_the_canvas_goes_on_where_it_is_harmless(rules_file: str) -> None:
    model = Denoising(["it", " is", " for", "bidden", "!"], [1, 3, 0, 4, 2])
    async with serving(model, content_filter=rules_file) as service:
        events = [event async for event in service.generate_stream("x", stream_mode="canvas")]
    canvases = ["".join(text or "_" for text in event.data["canvas"]) for event in events if event.type == "step"]
    assert canvases == ["_ is___", "_ is_▒_", "it is_▒_", "it is_▒!", "it is▒▒!"]


async def test_the_file_is_read_when_the_setting_is_posted(rules_file: str) -> None:
    model = WordsModel(words=["forbidden new"])
    async with serving(model) as service:
        assert (await service.generate_stream("x")).text == "forbidden new"
        await service.configure({"content_filter": rules_file})
        assert (await service.generate_stream("x")).text == "********* new"
        written(Path(rules_file), RULES.replace("forbidden", "new"))
        await service.configure({"temperature": 0.5})
        assert (await service.generate_stream("x")).text == "********* new"
        await service.configure({"content_filter": rules_file})
        assert (await service.generate_stream("x")).text == "forbidden ***"
        await service.configure({"content_filter": ""})
        assert (await service.generate_stream("x")).text == "forbidden new"


async def test_a_wrong_file_changes_nothing(rules_file: str, tmp_path: Path) -> None:
    wrong = written(tmp_path / "wrong.toml", "[[rule]]\nname = 'x'")
    async with serving(WordsModel(words=["forbidden"]), content_filter=rules_file) as service:
        before = service.configuration()
        with pytest.raises(InvalidParameters, match=r"wrong\.toml: line 1: rule 1") as caught:
            await service.configure({"content_filter": wrong, "temperature": 0.5})
        assert caught.value.field == "content_filter"
        with pytest.raises(InvalidParameters, match="not a model"):
            await service.configure({"content_filter": "", "default_model": "nobody"})
        assert service.configuration() == before
        assert (await service.generate_stream("x")).text == "*********"


async def test_a_wrong_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameters, match="no such file"):
        async with serving(WordsModel(), content_filter=str(tmp_path / "absent.toml")):
            pass


async def test_initialize_takes_it_too(rules_file: str) -> None:
    async with serving(WordsModel(words=["forbidden"])) as service:
        await service.initialize({"diffusion": {"content_filter": rules_file}})
        assert (await service.generate_stream("x")).text == "*********"
        with pytest.raises(InvalidParameters, match="no such file"):
            await service.initialize({"diffusion": {"content_filter": "absent"}})
        assert (await service.generate_stream("x")).text == "*********"
