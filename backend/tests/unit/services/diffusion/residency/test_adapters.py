"""Adapters as models: loaded with their base, reloaded, let go, and what becomes of them when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from app.core.settings import DiffusionConfig
from app.engine.families.checkpoint import load_model
from app.engine.models.base import FamilyModel
from app.services.diffusion import DiffusionLLMService, InvalidParameters, ModelUnavailable
from app.services.diffusion.native.native import NativeDiffusionModel
from app.services.diffusion.public_words import public_configuration
from app.services.diffusion.residency.catalog import AdapterItem, configured_entries, parse_adapters
from tests.unit.engine.adapters import write_whole_adapter
from tests.unit.engine.checkpoints import CHECKPOINTS
from tests.unit.services.diffusion.serving import NO_FOLDER, assert_law, until

BASE = str(CHECKPOINTS["llada-tiny"])


@pytest.fixture(scope="module")
def network() -> FamilyModel:
    return load_model(CHECKPOINTS["llada-tiny"], torch.device("cpu"), torch.float32)


@pytest.fixture
def folders(network: FamilyModel, tmp_path: Path) -> Callable[[str], Path]:
    """Writes an adapter of a name, one like another only if it is of the same name."""
    return lambda name: write_whole_adapter(tmp_path / name, network, seed=sum(name.encode()))


@asynccontextmanager
async def served(adapters: str, **settings: Any) -> AsyncIterator[DiffusionLLMService]:
    """The tiny `llada`, the default model, and its adapters; `dreamon` cannot be loaded."""
    given = {"llada_path": BASE, "dreamon_path": NO_FOLDER, "default_model": "llada", "adapters": adapters}
    service = DiffusionLLMService(DiffusionConfig(**{**given, "cpu_runtime": "torch", "max_length": 6, **settings}))
    await service.initialize()
    try:
        yield service
    finally:
        await service.close()
        assert_law(service)


async def text(service: DiffusionLLMService, model_id: str, **more: Any) -> str:
    return (await service.generate_stream("ab", model_id=model_id, seed=1, temperature=0.0, **more)).text


def native(service: DiffusionLLMService, model_id: str) -> NativeDiffusionModel:
    instance = service._residency.slot(model_id).instance
    assert instance is not None
    assert isinstance(instance.model, NativeDiffusionModel)
    return instance.model


def engine_of(service: DiffusionLLMService, model_id: str) -> Any:
    loaded = native(service, model_id).loaded
    assert loaded is not None
    return loaded.engine


def is_loaded(service: DiffusionLLMService, model_id: str) -> bool:
    return service._residency.slot(model_id).instance is not None


# -- what is served ---------------------------------------------------------------------------------------------------


async def test_adapters_and_their_base_answer_by_one_engine(folders: Callable[[str], Path]) -> None:
    async with served(f"x=llada:{folders('x')}, y=llada:{folders('y')}") as service:
        alone = {name: await text(service, name) for name in ("llada", "x", "y")}
        assert len({*alone.values()}) == 3
        assert engine_of(service, "x") is engine_of(service, "y") is engine_of(service, "llada")
        passes = engine_of(service, "llada").counters
        before = passes.num_passes
        together = await asyncio.gather(*(text(service, name) for name in alone))
        assert dict(zip(alone, together, strict=True)) == alone
        assert passes.num_passes - before < 3 * 6, "some passes were shared"


async def test_an_adapter_is_listed_with_its_base_and_its_own_memory(folders: Callable[[str], Path]) -> None:
    async with served(f"x=llada:{folders('x')}") as service:
        await text(service, "x")
        details = {model.model_id: model for model in service.model_details()}
        assert (details["x"].base_model, details["llada"].base_model) == ("llada", None)
        assert details["x"].is_available
        assert details["x"].checkpoint == str(folders("x"))
        assert details["x"].algorithms == details["llada"].algorithms
        assert 0 < native(service, "x").memory_bytes < native(service, "llada").memory_bytes
        assert service._residency.loaded_bytes == sum(native(service, name).memory_bytes for name in ("x", "llada"))
        assert {model.model_id for model in service.list_models()} == {"dreamon", "llada", "x"}
        assert service.health().models["x"].healthy
        counters = [model.counters for model in service.observation().models if model.model_id == "x"]
        assert counters == [None], "its passes are counted once, with those of its base"


async def test_the_first_request_for_an_adapter_loads_its_base_too(folders: Callable[[str], Path]) -> None:
    async with served(f"x=llada:{folders('x')}", preload="default", default_model="x") as service:
        assert is_loaded(service, "llada")
        assert await text(service, "x")
    async with served(f"x=own:{folders('x')}", extra_models=f"own={BASE}", preload="default") as service:
        assert not is_loaded(service, "own")
        assert await text(service, "x")
        assert is_loaded(service, "own")


# -- what is let go ---------------------------------------------------------------------------------------------------


async def test_a_base_stays_while_an_adapter_of_it_is_loaded(folders: Callable[[str], Path]) -> None:
    settings = {"extra_models": f"own={BASE}", "model_memory_mb": 1}
    async with served(f"x=own:{folders('x')}", **settings) as service:
        await text(service, "own")
        await text(service, "x")
        base, adapter = (service._residency.slot(name) for name in ("own", "x"))
        assert adapter.may_be_released
        assert not base.may_be_released
        assert [slot.model_id for slot in service._residency.idle(keep="llada")] == ["x"]
        report = await service.cleanup()
        assert report.released_models == ["x", "own"]
        assert await text(service, "x"), "both are loaded again"


async def test_cleaning_up_keeps_the_base_of_an_adapter_that_is_the_default(folders: Callable[[str], Path]) -> None:
    async with served(f"x=llada:{folders('x')}", default_model="x") as service:
        assert (await service.cleanup()).released_models == []
        assert is_loaded(service, "llada")


async def test_an_adapter_that_is_let_go_leaves_nothing_in_the_engine(folders: Callable[[str], Path]) -> None:
    async with served(f"x=llada:{folders('x')}") as service:
        await text(service, "x")
        assert len(engine_of(service, "llada")._adapters) == 1
        assert (await service.cleanup()).released_models == ["x"]
        assert engine_of(service, "llada")._adapters == {}


# -- what changes -----------------------------------------------------------------------------------------------------


async def test_a_reload_reads_the_folder_again(folders: Callable[[str], Path], network: FamilyModel) -> None:
    async with served(f"x=llada:{folders('x')}") as service:
        before = await text(service, "x")
        write_whole_adapter(folders("x"), network, seed=77)
        assert await text(service, "x") == before
        await service.reload_model("x")
        assert await text(service, "x") != before
        await until(lambda: len(engine_of(service, "llada")._adapters) == 1)


async def test_adapters_follow_a_base_that_is_reloaded(folders: Callable[[str], Path]) -> None:
    async with served(f"x=llada:{folders('x')}, y=llada:{folders('y')}") as service:
        before, old = await text(service, "x"), engine_of(service, "llada")
        running = asyncio.ensure_future(text(service, "x", max_length=64))
        await asyncio.sleep(0)
        await service.reload_model("llada")
        assert await text(service, "x") == before
        assert engine_of(service, "x") is engine_of(service, "llada") is not old
        assert await running, "it has finished on the instance that it began with"
        await until(lambda: is_loaded(service, "y") and not old.is_alive())
        for _ in range(2):
            await service.reload_model("llada")
        assert await text(service, "x") == before


async def test_adapters_are_repaired_with_their_base(folders: Callable[[str], Path]) -> None:
    async with served(f"x=llada:{folders('x')}", model_fallback=False) as service:
        before = await text(service, "x")
        engine_of(service, "llada").close()
        for _ in range(3):
            await service._supervisor.look()
            await asyncio.sleep(0)
        await until(lambda: is_loaded(service, "x") and is_loaded(service, "llada"))
        assert await text(service, "x") == before


async def test_adapters_come_and_go_with_the_configuration(folders: Callable[[str], Path]) -> None:
    async with served("") as service:
        await service.configure({"adapters": f"x=llada:{folders('x')}"})
        first = await text(service, "x")
        change = await service.configure({"adapters": f"x=llada:{folders('y')}"})
        assert change.needs_reload == ["adapters"]
        assert await text(service, "x") == first
        await service.reload_model("x")
        assert await text(service, "x") != first
        await service.configure({"adapters": ""})
        assert "x" not in {model.model_id for model in service.list_models()}
        assert await text(service, "llada")


async def test_an_id_that_becomes_one_of_an_adapter_is_another_model_and_back(folders: Callable[[str], Path]) -> None:
    checkpoint, adapter = {"extra_models": f"x={BASE}", "adapters": ""}, f"x=llada:{folders('x')}"
    async with served("", extra_models=checkpoint["extra_models"]) as service:
        of_base = await text(service, "x")
        change = await service.configure({"extra_models": "", "adapters": adapter})
        assert change.needs_reload == []
        assert [model.base_model for model in service.list_models()] == [None, None, "llada"]
        assert await text(service, "x") != of_base == await text(service, "llada")
        await service.configure(checkpoint)
        assert [model.base_model for model in service.list_models()] == [None, None, None]
        assert await text(service, "x") == of_base


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), r"adapter_model\.safetensors is missing"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\x80"), "no intact safetensors file"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "peft_type=None must be 'LORA'"),
    ],
)
async def test_a_damaged_adapter_is_named_and_its_base_answers(
    damage: Callable[[Path], object], reason: str, folders: Callable[[str], Path]
) -> None:
    folder = folders("x")
    damage(folder)
    async with served(f"x=llada:{folder}") as service:
        result = await service.generate_stream("ab", model_id="x")
        assert result.model_id == "llada", "its base stands in, before any other"
        (details,) = (model for model in service.model_details() if model.model_id == "x")
        assert not details.is_available
        assert details.error is not None
        with pytest.raises(ModelUnavailable, match=reason):
            await service.reload_model("x")
        assert not service._residency.slot("llada").instance.is_pinned  # type: ignore[union-attr]
    async with served(f"x=llada:{folder}", model_fallback=False) as service:
        with pytest.raises(ModelUnavailable, match="'x' is not available"):
            await text(service, "x")
        assert await text(service, "llada")


async def test_an_adapter_whose_base_cannot_be_loaded_says_so(folders: Callable[[str], Path]) -> None:
    async with served(f"x=dreamon:{folders('x')}", model_fallback=False) as service:
        with pytest.raises(ModelUnavailable, match=r"its base 'dreamon' is not available: .*no-such-folder"):
            await text(service, "x")


async def test_an_adapter_does_not_stand_in_for_another_model(folders: Callable[[str], Path]) -> None:
    async with served(f"x=llada:{folders('x')}") as service:
        await text(service, "x")
        assert (await service.generate_stream("ab", model_id="dreamon")).model_id == "llada"


def test_adapters_are_written_with_their_bases() -> None:
    items = list(parse_adapters(r" a = llada:/m/a, b=own: org/b ,c=llada:C:\models\c, "))
    assert items == [
        AdapterItem("a", "llada", "/m/a"),
        AdapterItem("b", "own", "org/b"),
        AdapterItem("c", "llada", r"C:\models\c"),
    ]
    entries = configured_entries(DiffusionConfig(adapters="a=llada:/m/a"))
    assert [entry.model_id for entry in entries] == ["dreamon", "llada", "a"]


@pytest.mark.parametrize(
    ("adapters", "message"),
    [
        ("x", "'x' is not of the form id=base:path or hub id"),
        ("x=/m/x", "'x=/m/x' is not of the form"),
        ("x=llada:", "is not of the form"),
        ("x=:/m/x", "is not of the form"),
        ("../x=llada:/m/x", "'../x' is not a model id"),
        ("llada=llada:/m/x", "the id 'llada' is taken"),
        ("x=llada:/m/x,x=llada:/m/y", "the id 'x' is taken"),
        ("x=nobody:/m/x", "'nobody', the base of 'x', is no model that takes adapters; those are dreamon, llada"),
        ("x=llada:/m/x,y=x:/m/y", "'x', the base of 'y', is no model that takes adapters"),
    ],
)
def test_wrong_adapters_are_named(adapters: str, message: str) -> None:
    with pytest.raises(InvalidParameters, match=message) as caught:
        configured_entries(DiffusionConfig(adapters=adapters))
    assert caught.value.field == "adapters"


def test_strangers_learn_the_base_of_an_adapter_and_not_where_it_lies() -> None:
    public = public_configuration(DiffusionConfig(adapters=r"a=llada:/m/secret/a, b=own:org/b,c=own:C:\secret\c"))
    assert public["adapters"] == "a=llada:a, b=own:b,c=own:c"
