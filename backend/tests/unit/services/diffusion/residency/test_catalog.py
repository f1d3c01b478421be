import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from app.core.settings import DiffusionConfig
from app.engine.interface.config import Demand
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.residency import catalog
from app.services.diffusion.residency.catalog import (
    configured_entries,
    demand_of,
    parse_extra_models,
    plugin_entries,
    registered_entry,
)
from tests.fakes import WordsModel

BACKEND = Path(__file__).parents[5]

TELLS = """
import asyncio, sys

from app.core.settings import DiffusionConfig
from app.services.diffusion.residency.catalog import configured_entries

for entry in configured_entries(DiffusionConfig()):
    asyncio.run(entry.model.describe_itself())
    print(*entry.model.capabilities, "torch" in sys.modules)
"""


def test_the_built_in_models_and_the_configured_ones() -> None:
    entries = configured_entries(DiffusionConfig(extra_models="big=GSAI-ML/LLaDA-8B-Instruct, mine=/models/mine"))
    assert [entry.model_id for entry in entries] == ["dreamon", "llada", "big", "mine"]
    models = {entry.model_id: entry.model for entry in entries}
    assert models["dreamon"] is not None
    assert models["dreamon"].max_length == 2048
    assert models["llada"] is not None
    assert models["llada"].max_length == 1024
    assert models["big"] is not None
    assert models["big"].details().checkpoint == "GSAI-ML/LLaDA-8B-Instruct"


def test_models_are_to_have_memory_for_the_requests_of_the_configuration() -> None:
    config = DiffusionConfig(max_concurrent_requests=5, max_length=300)
    assert demand_of(config) == Demand(num_requests=5, num_new=300, is_cached=False)
    assert demand_of(config.model_copy(update={"decoding": "fast"})).is_cached


def test_a_path_in_the_configuration_replaces_the_embedded_checkpoint() -> None:
    entry = configured_entries(DiffusionConfig(dreamon_path="/models/dreamon-7b"))[0]
    assert entry.model is not None
    assert entry.model.details().checkpoint == "/models/dreamon-7b"


async def test_an_embedded_checkpoint_says_what_it_can_from_the_first_moment() -> None:
    for entry in configured_entries(DiffusionConfig())[:2]:
        assert entry.model is not None
        told = entry.model.details()
        assert "infill" in told.capabilities
        assert await entry.model.initialize(), entry.model.problem
        assert (entry.model.details().capabilities, entry.model.max_length) == (told.capabilities, told.max_length)
        await entry.model.close()


def test_what_an_embedded_checkpoint_can_is_told_without_torch() -> None:
    told = subprocess.run([sys.executable, "-c", TELLS], cwd=BACKEND, capture_output=True, text=True, timeout=60)
    assert told.stdout == "generate infill chat read constrain False\n" * 2, told.stderr


@pytest.mark.parametrize("setting", ["dreamon_path", "llada_path"])
def test_a_path_in_the_configuration_may_lead_to_any_family(setting: str) -> None:
    models = [entry.model for entry in configured_entries(DiffusionConfig(**{setting: "/models/mine"}))]
    (mine,) = (model for model in models if model is not None and f"{model.model_id}_path" == setting)
    assert "infill" not in mine.capabilities


def test_a_reload_takes_the_path_of_its_moment() -> None:
    entry = configured_entries(DiffusionConfig(extra_models="mine=/old"))[2]
    assert entry.rebuild is not None
    assert entry.rebuild(DiffusionConfig(extra_models="mine=/new")).details().checkpoint == "/new"


@pytest.mark.parametrize("text", ["", " , ", ","])
def test_no_extra_models(text: str) -> None:
    assert list(parse_extra_models(text)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mine", "'mine' is not of the form"),
        ("mine=", "is not of the form"),
        ("../up=/x", "is not a model id"),
        ("a/b=/x", "is not a model id"),
        ("-x=/x", "is not a model id"),
        (f"{'x' * 65}=/x", "is not a model id"),
        ("llada=/x", "'llada' is taken"),
        ("a=/x,a=/y", "'a' is taken"),
    ],
)
def test_wrong_extra_models_are_named(text: str, message: str) -> None:
    with pytest.raises(InvalidParameters, match=message) as caught:
        configured_entries(DiffusionConfig(extra_models=text))
    assert caught.value.field == "extra_models"


def test_only_models_are_registered() -> None:
    with pytest.raises(TypeError, match="instance of a DiffusionModel"):
        registered_entry(WordsModel)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameters, match="is not a model id"):
        registered_entry(WordsModel("../../etc"))


def test_plugins_are_found_and_a_broken_one_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    group = catalog.ENTRY_POINT_GROUP
    found = [
        EntryPoint("good", "tests.fakes:WordsModel", group),
        EntryPoint("missing", "no_such_module:Model", group),
        EntryPoint("wrong", "tests.fakes:token", group),
    ]

    def entry_points(**selected: Any) -> list[EntryPoint]:
        assert selected == {"group": group}
        return found

    monkeypatch.setattr(catalog, "entry_points", entry_points)
    good, missing, wrong = plugin_entries()
    assert good.model_id == "words"
    assert good.rebuild is not None
    assert good.rebuild(DiffusionConfig()) is not good.model
    assert missing.model is None
    assert "no_such_module" in str(missing.problem)
    assert "TypeError" in str(wrong.problem)
