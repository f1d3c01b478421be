"""Recovery on a real device whose memory is really taken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from app.engine.engine import Engine
from app.engine.families.checkpoint import load_model
from app.engine.interface.config import EngineConfig
from app.engine.interface.events import EngineEvent, Finished
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState
from tests.unit.engine.checkpoints import CHECKPOINTS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda", 0)


@pytest.fixture
def engine() -> Iterator[Engine]:
    model = load_model(CHECKPOINTS["llada-tiny"], CUDA, torch.float32)
    yield Engine(ModelRunner(model), EngineConfig(device="cuda:0"))
    torch.cuda.empty_cache()


def ballast() -> list[torch.Tensor]:
    """Everything that is left."""
    taken = []
    for size in (2**30, 2**26, 2**22, 2**18, 2**14, 2**9):
        try:
            while True:
                taken.append(torch.empty(size, dtype=torch.uint8, device=CUDA))
        except torch.OutOfMemoryError:
            continue
    return taken


def run(engine: Engine, request_id: str) -> Finished:
    events: list[EngineEvent] = []
    request = GenerationRequest(request_id, (5, 6), (), DecodingParams(64), open_ended=True)
    engine.add(RequestState(request, engine.runner.model.config, events.append))
    while engine.has_work:
        engine.step()
    end = events[-1]
    assert isinstance(end, Finished), end
    return end


def test_a_request_survives_a_device_that_is_full_and_the_next_one_is_back(engine: Engine) -> None:
    assert run(engine, "before").device == "cuda:0"
    taken = ballast()
    assert run(engine, "while it is full").device == "cpu"
    del taken
    torch.cuda.empty_cache()
    assert run(engine, "after").device == "cuda:0"
