"""The cost of a new family: the toy beside this file, served from a checkpoint, and the files that a family touches."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

import app
from app.engine.families import registry
from app.engine.families.build import build_model
from app.engine.families.checkpoint import load_model
from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import CheckpointError, InvalidRequest
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.services.diffusion.errors import UnsupportedOperation
from app.services.diffusion.families import registry as text_registry
from app.services.diffusion.model_events import Ended, Piece
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.native.native import NativeDiffusionModel
from tests.conformance import traces
from tests.extensions.toy_family import TOY, TOY_TEXT
from tests.unit.engine.checkpoints import CHECKPOINTS, write_checkpoint

APP = Path(app.__path__[0])
CONFIG = {"model_type": "Toy", "vocabulary": 512, "width": 16, "depth": 2, "mask": 490, "end": 481}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two lines that make it known."""
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    monkeypatch.setattr(text_registry, "TEXT_FAMILIES", dict(text_registry.TEXT_FAMILIES))
    registry.register(TOY)
    text_registry.register(TOY_TEXT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of it, with the tokenizer of another one."""
    for file in CHECKPOINTS["llada-tiny"].glob("*token*.json"):
        shutil.copy(file, tmp_path)
    return write_checkpoint(tmp_path, CONFIG)


@pytest.fixture
def runner(folder: Path) -> ModelRunner:
    return ModelRunner(load_model(folder, torch.device("cpu"), torch.float32))


def request_of(name: str = "r", suffix: tuple[int, ...] = (), **params: object) -> GenerationRequest:
    return GenerationRequest(name, (5, 6, 7), suffix, DecodingParams(6, **params))  # type: ignore[arg-type]


# -- behaviour ---------------------------------------------------------------------------------------------------------


def test_the_engine_decodes_it_from_left_to_right(runner: ModelRunner) -> None:
    (trace,) = traces.run(runner, [request_of(transfers_per_step=2, run_to_end=True)], together=True)
    assert [[position for position, _, _ in step.committed] for step in trace.edits] == [[3, 4], [5, 6], [7, 8]]
    assert runner.model.config.special.mask not in trace.canvases[-1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_batch_gives_what_it_gives_alone(runner: ModelRunner, temperature: float) -> None:
    requests = [request_of(str(seed), seed=seed, temperature=temperature, run_to_end=True) for seed in range(4)]
    together = traces.run(runner, requests, together=True)
    assert [trace.canvases for trace in together] == [
        trace.canvases for trace in traces.run(runner, requests, together=False)
    ]


def test_it_runs_as_graphs_and_as_modules_alike(runner: ModelRunner) -> None:
    modules = ModelRunner(runner.model, cpu_runtime="torch")
    assert runner.is_graphed
    assert not modules.is_graphed
    request = request_of(run_to_end=True)
    (graphed,), (plain,) = (traces.run(each, [request], together=True) for each in (runner, modules))
    assert graphed.canvases == plain.canvases


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"block_length": 4}, "block_length=4 has no meaning for toy models; leave it out"),
        ({"confidence_threshold": 0.5}, "confidence_threshold=0.5 has no meaning for toy models; leave it out"),
        ({"algorithm": "entropy"}, "algorithm='entropy' is unknown to toy models; use sequential"),
        ({"cache": "dual"}, "cache='dual' has no meaning for toy models; leave it out"),
        ({"suffix": (8,)}, "toy models see no text behind a gap; leave the suffix out"),
    ],
)
def test_a_parameter_that_it_does_not_take_is_refused_by_name(
    runner: ModelRunner, given: dict[str, object], refused: str
) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(refused)):
        traces.run(runner, [request_of(**given)], together=True)  # type: ignore[arg-type]


def test_an_error_about_families_names_it() -> None:
    with pytest.raises(CheckpointError, match=r"known model types are llada, .*, DreamOn, .* and Toy"):
        build_model({"model_type": "other"})


async def test_the_service_serves_its_text(folder: Path) -> None:
    model = NativeDiffusionModel("mine", location=str(folder), config=EngineConfig())
    assert await model.initialize(), model.problem
    try:
        assert (model.max_length, model.capabilities, model.details().algorithms) == (
            32,
            ("generate", "chat", "read", "constrain"),
            ["sequential"],
        )
        params = DiffusionGenerationParams(text="Once upon", max_length=8, seed=1)
        events = [event async for event in model.prepared_stream(model.prepare_request(params))]
        assert any(isinstance(event, Piece) for event in events)
        assert isinstance(events[-1], Ended)
        with pytest.raises(UnsupportedOperation, match="model 'mine' cannot infill"):
            model.prepare_request(DiffusionInfillingParams(prefix="a", suffix="b", max_length=8))
        gap = DiffusionInfillingParams(prefix=params.text, max_length=8, seed=1)
        assert model.prepare_request(gap).decoding == model.prepare_request(params).decoding
    finally:
        await model.close()


# -- what it touches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llada", "illada", "dream", "dreamon"])
def test_a_family_is_known_to_its_declarations_and_to_the_two_registries(name: str) -> None:
    declared = re.compile(rf"\b{name.upper()}\b")
    files = {file.relative_to(APP).as_posix() for file in APP.rglob("*.py") if declared.search(file.read_text())}
    embedded = {"services/diffusion/residency/catalog.py"}  # two of them come with a checkpoint
    assert files - embedded == {
        f"engine/families/{name}.py",
        "engine/families/registry.py",
        f"services/diffusion/families/{name}.py",
        "services/diffusion/families/registry.py",
    }
