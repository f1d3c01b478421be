import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from app.core.settings import DiffusionConfig, Settings
from app.services.diffusion import (
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionLLMService,
    GenerationTimeout,
    InvalidParameters,
    ModelUnavailable,
    Overloaded,
    ServiceDisabled,
    UnknownModel,
    UnsupportedOperation,
    diffusion_service,
)
from app.services.diffusion.models import DiffusionTokensInfillingParams
from app.services.diffusion.residency import supervisor
from app.services.diffusion.residency.slot import State
from app.services.diffusion.tokens import Encoding
from tests.fakes import GatedModel, SlowlyLoadingModel, UnloadableModel, WordsModel
from tests.unit.services.diffusion.serving import NO_FOLDER, serving, until

BROKEN_BUILT_IN = {"dreamon_path": NO_FOLDER, "llada_path": NO_FOLDER}


# -- life ------------------------------------------------------------------------------------------------------------


async def test_before_initialize_requests_are_refused_at_first_use() -> None:
    generation = DiffusionLLMService().generate_stream("x")
    with pytest.raises(ServiceDisabled, match=r"await service\.initialize\(\)"):
        await generation


async def test_a_disabled_service_says_so() -> None:
    service = DiffusionLLMService()
    assert not await service.initialize({"diffusion": {"enabled": False}})
    with pytest.raises(ServiceDisabled, match="enabled=true"):
        await service.generate_stream("x")
    with pytest.raises(ServiceDisabled):
        await service.reload_model("llada")
    assert service.health().status == "disabled"
    assert service.statistics().failed_requests == 1
    await service.close()


@pytest.mark.parametrize("nested", [True, False])
async def test_a_mapping_of_settings_in_lower_case(nested: bool) -> None:
    service = DiffusionLLMService()
    service.register_model(WordsModel())
    settings = {**BROKEN_BUILT_IN, "default_model": "words", "temperature": 0.1, "port": 9000, "log_level": "debug"}
    assert await service.initialize({"diffusion": settings} if nested else settings)
    assert service.configuration()["temperature"] == 0.1
    assert (await service.generate_stream("x")).text == "one two three"
    await service.close()


@pytest.mark.parametrize(
    ("settings", "field", "message"),
    [
        ({"temprature": 1.0}, "temprature", "temprature"),
        ({"temperature": 3.0}, "temperature", r"temperature=3\.0.*2"),
        ({"default_model": "nobody"}, "default_model", "known models: dreamon, llada"),
        ({"extra_models": "llada=/x"}, "extra_models", "taken"),
    ],
)
async def test_a_wrong_setting_is_named(settings: dict[str, Any], field: str, message: str) -> None:
    service = DiffusionLLMService()
    with pytest.raises(InvalidParameters, match=message) as caught:
        await service.initialize({"diffusion": BROKEN_BUILT_IN | settings})
    assert caught.value.field == field
    await service.close()


def test_the_servers_secrets_stay_outside() -> None:
    settings = Settings(admin_token="secret", _env_file=None)
    service = DiffusionLLMService(settings)
    assert service.configuration().keys() == DiffusionConfig.model_fields.keys()


async def test_the_default_model_answers_before_the_others_are_loaded() -> None:
    slow = SlowlyLoadingModel()
    async with serving(WordsModel(), slow) as service:
        assert (await service.generate_stream("x")).model_id == "words"
        assert not slow.num_initialized
        slow.may_load.set()
        await until(lambda: all(model.is_available for model in service.list_models() if model.model_id == "slow"))


async def test_models_may_wait_for_their_first_use() -> None:
    models = [WordsModel(), WordsModel("second")]
    async with serving(*models, preload="default") as service:
        assert [model.num_initialized for model in models] == [1, 0]
        assert service.health().models["second"].detail == "not in memory; the next request loads it"
        assert all(model.is_available for model in service.list_models() if model.model_id in ("words", "second"))
        late = WordsModel("late")
        service.register_model(late)
        for model_id in ("second", "late"):
            assert (await service.generate_stream("a", model_id=model_id)).model_id == model_id
        assert [model.num_initialized for model in (*models, late)] == [1, 1, 1]


@pytest.mark.parametrize(("fallback", "can_answer"), [(True, True), (False, False)])
async def test_initialize_says_whether_anyone_can_answer(fallback: bool, can_answer: bool) -> None:
    service = DiffusionLLMService()
    service.register_model(UnloadableModel("broken"))
    service.register_model(WordsModel())
    settings = {**BROKEN_BUILT_IN, "default_model": "broken", "model_fallback": fallback}
    assert await service.initialize(settings) is can_answer
    await service.close()


async def test_a_closed_service_can_be_opened_again() -> None:
    model = WordsModel()
    async with serving(model) as service:
        await service.close()
        with pytest.raises(ServiceDisabled):
            await service.generate_stream("x")
        assert await service.initialize()
        assert (await service.generate_stream("x")).text == "one two three"
        assert model.num_initialized == 2


async def test_models_are_registered_before_and_after() -> None:
    async with serving(WordsModel()) as service:
        late = WordsModel("late")
        service.register_model(late)
        assert (await service.generate_stream("x", model_id="late")).model_id == "late"
        assert late.num_initialized == 1
        with pytest.raises(InvalidParameters, match="'late' is taken"):
            service.register_model(WordsModel("late"))


# -- requests --------------------------------------------------------------------------------------------------------


async def test_requests_are_strings_or_parameters_with_overrides() -> None:
    model = WordsModel()
    async with serving(model) as service:
        await service.generate_stream(DiffusionGenerationParams(text="a", top_k=5), top_k=7)
        await service.infill_stream(DiffusionInfillingParams(prefix="a", suffix="b"), temperature=0.0)
        await service.infill_stream("a")
        model.takes_token_ids = True
        await service.infill_stream(DiffusionTokensInfillingParams(token_ids=[1], suffix="b"), top_k=9)
    assert [params.top_k for params in model.seen] == [7, 50, 50, 9]
    assert [params.temperature for params in model.seen] == [0.7, 0.0, 0.7, 0.7]
    assert isinstance(model.seen[-1], DiffusionTokensInfillingParams)


async def test_tokens_are_asked_of_the_model_itself() -> None:
    text = Encoding("x")
    with pytest.raises(ServiceDisabled):
        await DiffusionLLMService().tokenizers.encode(text)
    async with serving(WordsModel(), UnloadableModel("broken")) as service:
        for ask in (service.tokenizers.encode(text), service.tokenizers.decode([1]), service.tokenizers.describe()):
            with pytest.raises(UnsupportedOperation, match="model 'words' shows no tokens"):
                await ask
        with pytest.raises(UnknownModel, match="no-such"):
            await service.tokenizers.encode(text, "no-such")
        with pytest.raises(ModelUnavailable, match="model 'broken' is not available"):
            await service.tokenizers.encode(text, "broken")


async def test_tokens_of_a_model_that_is_not_loaded_in_time_are_a_timeout() -> None:
    slow = SlowlyLoadingModel("slow")
    async with serving(WordsModel(), slow, timeout_seconds=0.01) as service:
        with pytest.raises(GenerationTimeout, match=r"'slow' did not answer within timeout_seconds=0\.01"):
            await service.tokenizers.describe("slow")
        slow.may_load.set()


async def test_parameters_may_change_for_the_next_request_while_this_one_waits() -> None:
    model = WordsModel()
    async with serving(model) as service:
        params = DiffusionGenerationParams(text="a", seed=1)
        first = service.generate_stream(params)
        params.seed = 2
        await asyncio.gather(first, service.generate_stream(params))
    assert [seen.seed for seen in model.seen] == [1, 2]


@pytest.mark.parametrize(
    ("given", "field"),
    [({"max_length": 5000}, "max_length"), ({"nonsense": 1}, "nonsense"), ({"temperature": "hot"}, "temperature")],
)
async def test_a_wrong_parameter_is_refused_at_once(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidParameters, match=field) as caught:
        DiffusionLLMService().generate_stream("x", **given)
    assert caught.value.field == field


async def test_messages_do_not_repeat_whole_texts() -> None:
    with pytest.raises(InvalidParameters) as caught:
        DiffusionLLMService().generate_stream("x" * 20_000)
    assert len(str(caught.value)) < 200


async def test_prompts_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(WordsModel()) as service:
            await service.generate_stream("my private thought")
    assert "private" not in caplog.text
    (record,) = (record for record in caplog.records if record.message == "request successful")
    assert record.__dict__["model_id"] == "words"


# -- administration --------------------------------------------------------------------------------------------------


async def test_a_partial_update_changes_only_the_named_settings() -> None:
    async with serving(GatedModel(), max_concurrent_requests=1) as service:
        holder, waiting = service.generate_stream("x"), service.generate_stream("y")
        await holder.accepted()
        accepted = asyncio.create_task(waiting.accepted())
        await asyncio.sleep(0.01)
        assert not accepted.done()
        await until(lambda: all(slot.state is not State.NEW for slot in service._residency.slots))
        change = await service.configure({"max_concurrent_requests": 2, "llada_path": "/elsewhere"})
        await asyncio.wait_for(accepted, 30)
        assert change.updated == {"max_concurrent_requests": 2, "llada_path": "/elsewhere"}
        assert change.needs_reload == ["llada_path"]
        assert change.configuration == service.configuration()
        await holder.aclose()
        await waiting.aclose()


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 1.0, "top_k": 0},
        {"temperature": 1.0, "port": 80},
        {"temperature": 1.0, "default_model": "nobody"},
        {"temperature": 1.0, "extra_models": "broken"},
        {"temperature": 1.0, "extra_models": "words=/x"},
    ],
)
async def test_a_bad_update_changes_nothing(changes: dict[str, Any]) -> None:
    async with serving(WordsModel()) as service:
        before = service.configuration()
        models = [model.model_id for model in service.list_models()]
        with pytest.raises(InvalidParameters):
            await service.configure(changes)
        assert service.configuration() == before
        assert [model.model_id for model in service.list_models()] == models


async def test_extra_models_come_and_go() -> None:
    async with serving(WordsModel()) as service:
        await service.configure({"extra_models": f"extra={NO_FOLDER}"})
        assert "extra" in [model.model_id for model in service.list_models()]
        result = await service.generate_stream("x", model_id="extra")
        assert result.model_id == "words"
        await service.configure({"extra_models": ""})
        with pytest.raises(UnknownModel):
            await service.generate_stream("x", model_id="extra")


async def test_switching_off_and_on_at_run_time() -> None:
    async with serving(WordsModel()) as service:
        await service.configure({"enabled": False})
        with pytest.raises(ServiceDisabled):
            await service.generate_stream("x")
        await service.configure({"enabled": True})
        assert (await service.generate_stream("x")).text == "one two three"


async def test_a_service_that_starts_disabled_loads_when_it_is_enabled() -> None:
    service = DiffusionLLMService()
    model = WordsModel()
    service.register_model(model)
    await service.initialize({**BROKEN_BUILT_IN, "enabled": False, "default_model": "words"})
    assert not model.num_initialized
    await service.configure({"enabled": True})
    assert (await service.generate_stream("x")).text == "one two three"
    await service.close()


async def test_a_reload_under_traffic_drops_no_request() -> None:
    model = GatedModel()
    async with serving(model, WordsModel(), max_concurrent_requests=4) as service:
        running = [asyncio.ensure_future(service.generate_stream("x")) for _ in range(3)]
        await until(lambda: model.num_open == 3)
        reload = asyncio.create_task(service.reload_model("gated"))
        await asyncio.sleep(0.01)
        assert (await service.generate_stream("x")).model_id == "words"  # meanwhile
        model.release.set()
        assert [result.text for result in await asyncio.gather(*running)] == ["before after"] * 3
        assert (await reload).is_available
        assert model.num_closed == 1


async def test_an_unknown_model_is_not_reloaded() -> None:
    async with serving(WordsModel()) as service:
        with pytest.raises(UnknownModel):
            await service.reload_model("nobody")


# -- observation -----------------------------------------------------------------------------------------------------


async def test_models_are_listed_with_their_errors() -> None:
    async with serving(WordsModel(), UnloadableModel("broken")) as service:
        await until(lambda: service.health().models["broken"].detail == "the disk is on fire")
        await service.generate_stream("x")
        details = {model.model_id: model for model in service.model_details()}
        assert list(details) == ["dreamon", "llada", "words", "broken"]
        assert details["words"].requests_served == 1
        assert details["words"].is_available
        assert details["broken"].error == "the disk is on fire"
        assert not details["llada"].is_available
        assert NO_FOLDER in str(details["llada"].error)
        assert service.list_models()[2].model_dump().keys() == {
            "model_id",
            "name",
            "description",
            "base_model",
            "max_length",
            "is_available",
            "device",
            "memory_usage",
            "memory_needed",
            "capabilities",
        }


async def test_health_distinguishes_failures_from_loading() -> None:
    slow = SlowlyLoadingModel()
    async with serving(WordsModel(), slow) as service:
        await until(lambda: service.health().models["slow"].detail == "loading")
        health = service.health()
        assert health.models["words"].detail == "ready"
        assert health.models["slow"].healthy
        assert not health.models["llada"].healthy
        assert (health.status, health.healthy) == ("degraded", False)
        assert health.devices["cpu"].healthy
        slow.may_load.set()


async def test_health_without_a_single_model() -> None:
    service = DiffusionLLMService()
    assert service.health().status == "unhealthy"
    assert not await service.initialize(BROKEN_BUILT_IN)
    assert service.health().status == "unhealthy"
    await service.close()


async def test_the_snippet_of_the_specification_runs_with_the_embedded_checkpoints() -> None:
    embedded = Path(diffusion_service.__file__).parents[2] / "assets" / "models"
    if not (embedded / "dreamon").is_dir():
        pytest.skip("the embedded checkpoints are not in this tree")
    service = DiffusionLLMService()
    assert await service.initialize({"diffusion": {"enabled": True}})
    result = await service.generate_stream("Test generation", max_length=16)
    assert str(result) == result.text
    await service.close()


async def test_a_model_that_breaks_down_is_replaced_and_another_answers_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "LOOK_EVERY_S", 0.05)
    model = WordsModel()
    async with serving(model, WordsModel("stand-in")) as service:
        model.problem = "the cable was pulled"
        assert (await service.generate_stream("a")).model_id == "stand-in"
        assert service.health().status == "degraded"
        await until(lambda: model.num_initialized == 2 and service.health().models["words"].healthy)
        assert (await service.generate_stream("a")).model_id == "words"


async def test_no_more_wait_for_a_model_than_may_wait_at_all() -> None:
    slow = SlowlyLoadingModel()
    async with serving(WordsModel(), slow, max_concurrent_requests=1, max_queued_requests=2) as service:
        waiting = [asyncio.ensure_future(service.generate_stream("a", model_id="slow")) for _ in range(3)]
        await until(lambda: service.statistics().requests_in_flight == 3)
        with pytest.raises(Overloaded, match="3 are waiting"):
            await service.generate_stream("a")
        slow.may_load.set()
        assert [str(result) for result in await asyncio.gather(*waiting)] == ["at last"] * 3
