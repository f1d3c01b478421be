"""A replica in this process, with a board that is here and a real tiny checkpoint."""

from __future__ import annotations

import gc
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio
from ray import serve

from app.core.settings import Settings
from app.ray.model_replica import Item, ModelReplica
from app.services.diffusion import DiffusionGenerationParams, InvalidParameters
from app.services.diffusion.decisions import DiffusionDecisionParams
from app.services.diffusion.model_events import CanvasStep, Ended, HolesRead, Piece, Started
from app.services.diffusion.reading import Asked, DiffusionReadParams
from app.services.diffusion.tokens import Encoding
from tests.api.serving import install_plugin
from tests.ray.fakes import FakeBoard

pytestmark = pytest.mark.ray

VECTORS = Path(__file__).parents[1] / "conformance" / "vectors"


@asynccontextmanager
async def replica_of(model_id: str) -> AsyncIterator[ModelReplica]:
    context = SimpleNamespace(replica_id=SimpleNamespace(unique_id=f"{model_id}-0"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "get_replica_context", lambda: context)
        patch.setattr("app.ray.model_replica.configure_logging", lambda settings: None)
        replica = ModelReplica.__new__(ModelReplica)
        settings = Settings(llada_path=str(VECTORS / "llada-tiny"), device_preference="cpu")
        await replica.__init__(settings, model_id, FakeBoard())  # type: ignore[misc]  # as Serve makes one
    yield replica
    await replica._watch.cancel()
    await replica._membership._tasks.cancel()
    await replica._residency.close()


@pytest_asyncio.fixture
async def replica() -> AsyncIterator[ModelReplica]:
    async with replica_of("llada") as made:
        yield made


async def answered(replica: ModelReplica, params: Asked) -> list[Item]:
    """The items as they arrive at an ingress."""
    batches = [pickle.loads(pickle.dumps(batch)) async for batch in replica.answer(params, "mine")]
    return [item for batch in batches for item in batch]


async def test_a_replica_sends_the_events_of_its_model(replica: ModelReplica) -> None:
    params = DiffusionGenerationParams(text="def main", max_length=8, seed=1)
    started, *pieces, ended = await answered(replica, params)
    assert isinstance(started, Started)
    assert started.device == "cpu"
    assert isinstance(ended, Ended)
    assert all(isinstance(piece, Piece) for piece in pieces)
    assert await answered(replica, params) == [started, *pieces, ended]


async def test_a_replica_reads_and_decides(replica: ModelReplica) -> None:
    hole = {"hole": "x", "choices": ["a", "b"]}
    question = {"name": "q", "kind": "yes_no", "instructions": "So?", "options": ["", ""]}
    for params, name in (
        (DiffusionReadParams.model_validate({"parts": ["The s", hole]}), "x"),
        (DiffusionDecisionParams.model_validate({"state": "x", "questions": [question]}), "q"),
    ):
        sent: Asked = pickle.loads(pickle.dumps(params))
        started, read, ended = await answered(replica, sent)
        assert isinstance(started, Started)
        assert isinstance(read, HolesRead)
        assert [*read.holes] == [name]
        assert isinstance(ended, Ended)
        assert ended.num_denoising_steps == 1
        assert await answered(replica, sent) == [started, read, ended]


async def test_a_replica_says_what_its_tokenizer_does(replica: ModelReplica) -> None:
    asked: Encoding = pickle.loads(pickle.dumps(Encoding("def main")))
    tokens = pickle.loads(pickle.dumps(await replica.consult("encode", asked)))
    assert await replica.consult("decode", tokens.ids) == "def main"
    facts = pickle.loads(pickle.dumps(await replica.consult("describe_tokenizer")))
    (error,) = pickle.loads(pickle.dumps([await replica.consult("decode", [facts.vocab_size])]))
    assert isinstance(error, InvalidParameters)
    assert replica._slot.may_be_released, "whoever asks holds the model no longer"


async def test_a_replica_obeys_a_constraint_and_reports_what_it_forced(replica: ModelReplica) -> None:
    def asking(choice: str) -> Asked:
        asked = {"text": "def", "max_length": 1, "stream_mode": "canvas", "constraint": {"choices": [choice]}}
        sent: Asked = pickle.loads(pickle.dumps(DiffusionGenerationParams.model_validate(asked)))
        return sent

    _, *items, ended = await answered(replica, asking("q"))
    assert [item.text for item in items if isinstance(item, Piece)] == ["q"]
    assert [item.data["forced"] for item in items if isinstance(item, CanvasStep)] == [[0]]
    assert isinstance(ended, Ended)
    (error,) = await answered(replica, asking("qq qq"))
    assert isinstance(error, InvalidParameters)
    assert error.field == "max_length"


async def test_a_refusal_comes_as_the_last_item_and_beforehand_as_a_sentence(replica: ModelReplica) -> None:
    params = DiffusionGenerationParams(text="x", alg_temp=0.5)
    (error,) = await answered(replica, params)
    assert isinstance(error, InvalidParameters)
    assert (await replica.check(params) or "").startswith("alg_temp=0.5")
    assert await replica.check(DiffusionGenerationParams(text="x")) is None
    assert replica._slot.may_be_released, "whoever asks holds the model no longer"


@pytest.mark.parametrize("model_id", ["llada", "words"])
async def test_a_replica_collects_garbage_once_it_has_its_model(
    model_id: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "plugin"))
    async with replica_of(model_id) as made:
        assert made._slot.is_available
        assert gc.isenabled()
