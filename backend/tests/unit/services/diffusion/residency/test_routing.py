import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.core.settings import DiffusionConfig
from app.services.diffusion.base import DiffusionModel, Prepared
from app.services.diffusion.errors import (
    GenerationTimeout,
    InvalidParameters,
    ModelUnavailable,
    UnknownModel,
    UnsupportedOperation,
)
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionTokensParams
from app.services.diffusion.reading import Asked
from app.services.diffusion.residency.catalog import registered_entry
from app.services.diffusion.residency.residency import Residency
from app.services.diffusion.residency.routing import Router, with_defaults
from tests.fakes import GatedModel, SlowlyLoadingModel, UnloadableModel, WordsModel
from tests.unit.services.diffusion.serving import serving


async def test_the_default_model_answers_who_names_none() -> None:
    async with serving(WordsModel(), WordsModel("other")) as service:
        assert (await service.generate_stream("x")).model_id == "words"
        assert (await service.generate_stream("x", model_id="other")).model_id == "other"


async def test_an_unknown_model_is_an_error_that_lists_the_known() -> None:
    async with serving(WordsModel()) as service:
        with pytest.raises(UnknownModel, match=r"'nobody'; known models: dreamon, llada, words"):
            await service.generate_stream("x", model_id="nobody")


async def test_another_answers_for_a_model_that_failed() -> None:
    async with serving(WordsModel(), UnloadableModel("broken")) as service:
        result = await service.generate_stream("x", model_id="broken")
        assert (result.model_id, result.metadata["requested_model"]) == ("words", "broken")
        assert service.statistics().model_usage == {"words": 1}


async def test_the_fallback_can_be_turned_off() -> None:
    async with serving(WordsModel(), UnloadableModel("broken"), model_fallback=False) as service:
        with pytest.raises(ModelUnavailable, match="the disk is on fire"):
            await service.generate_stream("x", model_id="broken")


async def test_a_stand_in_must_be_able_to_do_the_job() -> None:
    async with serving(GatedModel(), UnloadableModel("broken")) as service:
        with pytest.raises(ModelUnavailable):
            await service.infill_stream("left", "right", model_id="broken")
    async with serving(GatedModel(), UnloadableModel("broken"), WordsModel("third")) as service:
        answered = await service.infill_stream("left", "right", model_id="broken")
        assert answered.model_id == "third"
        with pytest.raises(ModelUnavailable):
            await service.generate_stream("x", model_id="broken", algorithm="sideways")


async def test_a_stand_in_writes_as_much_as_it_can_of_what_was_asked_for() -> None:
    words = WordsModel()
    words.max_length = 2
    async with serving(words, UnloadableModel("broken")) as service:
        answered = await service.generate_stream("x", model_id="broken", max_length=100)
        assert (answered.model_id, words.seen[0].max_length) == ("words", 2)
        with pytest.raises(InvalidParameters, match="max_length=100 is above 2"):
            await service.generate_stream("x", model_id="words", max_length=100)


async def test_ids_of_one_models_tokens_are_not_given_to_another() -> None:
    words = WordsModel()
    words.takes_token_ids = True
    biased = DiffusionGenerationParams(text="x", model_id="broken", logit_bias={7: -100.0})
    ids = DiffusionTokensParams(token_ids=[1, 2], model_id="broken")
    async with serving(words, UnloadableModel("broken")) as service:
        for params in (biased, ids):
            with pytest.raises(ModelUnavailable):
                await service.generate_stream(params)
            answered = await service.generate_stream(params.model_copy(update={"model_id": "words"}))
            assert answered.model_id == "words"


async def test_a_refused_parameter_is_no_reason_to_ask_another() -> None:
    async with serving(GatedModel(), WordsModel()) as service:
        with pytest.raises(InvalidParameters) as caught:
            await service.generate_stream("x", algorithm="forward")
        assert caught.value.field == "algorithm"


GAP = {"prefix": "x", "suffix": "y"}


async def test_a_gap_that_a_model_cannot_fill_is_refused_with_the_names_of_those_that_can() -> None:
    gated = GatedModel()
    async with serving(gated, WordsModel(), WordsModel("more")) as service:
        with pytest.raises(UnsupportedOperation) as caught:
            await service.infill_stream(**GAP, model_id="gated")
    assert str(caught.value) == (
        "model 'gated' cannot infill: it sees no text behind a gap; leave the suffix out, or ask another model: words, "
        "more"
    )
    assert (caught.value.field, gated.num_open) == ("suffix", 0)


async def test_a_gap_that_no_model_can_fill_is_refused_as_such() -> None:
    async with serving(GatedModel()) as service:
        with pytest.raises(UnsupportedOperation, match="leave the suffix out, or no other model of this server can"):
            await service.infill_stream(**GAP, model_id="gated")


async def test_a_gap_with_nothing_behind_it_is_continued_by_a_model_that_cannot_infill() -> None:
    gated = GatedModel()
    gated.release.set()
    async with serving(gated) as service:
        result = await service.infill_stream("x", "")
    assert result.text == "before after"


async def test_a_model_that_waits_for_its_first_use_refuses_a_gap_without_being_loaded() -> None:
    gated = GatedModel()
    async with serving(WordsModel(), gated, preload="default") as service:
        assert service._residency.slot("gated").instance is None
        with pytest.raises(UnsupportedOperation, match="ask another model: words"):
            await service.infill_stream(**GAP, model_id="gated")
        assert service._residency.slot("gated").instance is None


async def test_a_request_waits_for_a_model_that_is_still_loading() -> None:
    slow = SlowlyLoadingModel()
    async with serving(WordsModel(), slow) as service:
        waiting = asyncio.ensure_future(service.generate_stream("x", model_id="slow"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        slow.may_load.set()
        assert (await waiting).model_id == "slow"
        assert slow.num_initialized == 1


async def test_the_deadline_holds_while_a_model_loads() -> None:
    slow = SlowlyLoadingModel()
    async with serving(WordsModel(), slow, timeout_seconds=0.02) as service:
        with pytest.raises(GenerationTimeout):
            await service.generate_stream("x", model_id="slow")
        slow.may_load.set()


async def test_a_model_that_breaks_down_later_is_replaced_too() -> None:
    model = WordsModel()
    async with serving(model, WordsModel("other")) as service:
        model.problem = "lost its memory"
        assert (await service.generate_stream("x")).model_id == "other"
        assert service.health().status == "degraded"
        await service.reload_model("words")
        assert (await service.generate_stream("x")).model_id == "words"


class CountingModel(WordsModel):
    """Counts how often it has prepared a request."""

    num_prepared = 0

    def prepare_request(self, params: Asked) -> Prepared:
        self.num_prepared += 1
        return super().prepare_request(params)


async def test_a_request_is_prepared_once() -> None:
    model = CountingModel()
    async with serving(model) as service:
        await service.generate_stream("x")
        await service.infill_stream("x", "y")
    assert model.num_prepared == 2


@asynccontextmanager
async def routed(model: DiffusionModel, config: Callable[[], DiffusionConfig]) -> AsyncIterator[Router]:
    """A router to this one model, which is loaded."""
    residency = Residency(config)
    slot = residency.add(registered_entry(model))
    residency.is_complete.set()
    await slot.loaded()
    yield Router(residency, config)
    await residency.close()


async def test_a_request_is_prepared_again_where_a_setting_or_the_text_has_changed() -> None:
    model, config, params = CountingModel(), DiffusionConfig(default_model="words"), DiffusionGenerationParams(text="x")
    async with routed(model, lambda: config) as router:
        examined = router.examine(params)
        async with router.chosen(params, examined) as choice:
            assert examined is not None
            assert choice.prepared is examined.prepared
        config = DiffusionConfig(default_model="words", max_length=7)
        async with router.chosen(params, examined) as choice:
            assert choice.prepared.params.model_dump(include={"max_length"}) == {"max_length": 7}
        async with router.chosen(filtered := params.model_copy(update={"text": "y"}), router.examine(params)) as choice:
            assert choice.prepared.params.model_dump(include={"text"}) == filtered.model_dump(include={"text"})
    assert model.num_prepared == 4


async def test_a_chosen_model_is_held_until_the_block_ends() -> None:
    model = WordsModel()
    async with routed(model, lambda: DiffusionConfig(default_model="words")) as router:
        async with router.chosen(DiffusionGenerationParams(text="x")) as choice:
            closing = asyncio.ensure_future(router._residency.close())
            await asyncio.sleep(0.01)
            assert choice.model is model
            assert model.num_closed == 0
        await closing
        assert model.num_closed == 1


CONFIG = DiffusionConfig(max_length=512, temperature=0.5, top_p=0.8, top_k=7, repetition_penalty=1.2)


@pytest.mark.parametrize("given", [{}, {"max_length": 9, "temperature": 0.0, "seed": 0}])
def test_defaults_fill_what_is_missing(given: dict[str, Any]) -> None:
    filled = with_defaults(DiffusionGenerationParams(text="x", **given), CONFIG, WordsModel())
    expected = {
        "max_length": 512,
        "temperature": 0.5,
        "top_p": 0.8,
        "top_k": 7,
        "repetition_penalty": 1.2,
        "model_id": "words",
    } | given
    assert filled.model_dump(include=set(expected)) == expected
    assert filled.seed is not None


def test_the_configured_max_length_gives_way_to_the_models_bound() -> None:
    model = WordsModel()
    model.max_length = 100
    assert with_defaults(DiffusionGenerationParams(text="x"), CONFIG, model).max_length == 100


def test_seeds_differ_and_fit() -> None:
    seeds = {with_defaults(DiffusionGenerationParams(text="x"), CONFIG, WordsModel()).seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(seed is not None and 0 <= seed < 2**63 for seed in seeds)
