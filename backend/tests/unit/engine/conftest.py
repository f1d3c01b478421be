"""Every small checkpoint, loaded once: the vectors' random weights and the embedded, trained ones."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping

import pytest
import torch

from app.engine.families.checkpoint import load_model
from app.engine.passes.runner import ModelRunner
from tests.unit.engine.checkpoints import BY_MODULES, CHECKPOINTS


@pytest.fixture(scope="session")
def runners() -> Mapping[str, ModelRunner]:
    """The runners by the names in `CHECKPOINTS`, in float32 on the CPU; two also without graphs (`BY_MODULES`)."""
    cpu = torch.device("cpu")
    graphed = {name: ModelRunner(load_model(folder, cpu, torch.float32)) for name, folder in CHECKPOINTS.items()}
    by_modules = {name: ModelRunner(graphed[of].model, cpu_runtime="torch") for name, of in BY_MODULES.items()}
    return graphed | by_modules


@pytest.fixture(scope="session")
def llada(runners: Mapping[str, ModelRunner]) -> ModelRunner:
    return runners["llada-tiny"]


@pytest.fixture(scope="session")
def dream(runners: Mapping[str, ModelRunner]) -> ModelRunner:
    return runners["dream-tiny"]


@pytest.fixture(scope="session")
def dreamon(runners: Mapping[str, ModelRunner]) -> ModelRunner:
    return runners["dreamon-tiny"]


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Leaves the garbage collector out: only what nothing refers to is freed, and no cycle."""
    gc.disable()
    yield
    gc.enable()
