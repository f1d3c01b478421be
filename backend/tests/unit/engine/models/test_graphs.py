from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.models import graphs
from app.engine.models.attention import Kept, KeyValues
from app.engine.models.base import FamilyModel
from app.engine.models.graphs import GraphedModel, can_run
from app.engine.models.layers import Linear
from app.engine.models.registry import build_model
from app.engine.recovery import copied
from app.engine.runner import ModelRunner
from tests.unit.engine.checkpoints import CHECKPOINTS, DREAM_CONFIG, LLADA_CONFIG

CPU = torch.device("cpu")


def small(**changes: object) -> FamilyModel:
    torch.manual_seed(0)
    return build_model({**LLADA_CONFIG, **changes}).requires_grad_(False)


def with_biases_and_shared_keys() -> FamilyModel:
    """Random biases too: the published start is 0, which would hide one that is forgotten."""
    torch.manual_seed(0)
    model = build_model({**DREAM_CONFIG, "num_hidden_layers": 2}).requires_grad_(False)
    for weight in model.parameters():
        weight.normal_()
    return model


def logits(model: FamilyModel | GraphedModel, ids: Sequence[int], rows: Sequence[int] | None = None) -> torch.Tensor:
    wanted = None if rows is None else torch.tensor(rows)
    with torch.inference_mode():
        return model.head(model.hidden(torch.tensor(ids), torch.arange(len(ids)), [len(ids)], wanted))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_graphs_compute_what_the_modules_compute(name: str, runners: Mapping[str, ModelRunner]) -> None:
    model = runners[name].model
    ids = [(7 * index) % model.config.vocab_size for index in range(50)]
    torch.testing.assert_close(logits(GraphedModel(model), ids), logits(model, ids), atol=5e-5, rtol=1e-4)


def test_biases_and_heads_that_share_keys_are_not_forgotten() -> None:
    model = with_biases_and_shared_keys()
    expected = logits(model, range(10), [3, 7])
    torch.testing.assert_close(logits(GraphedModel(model), range(10), [3, 7]), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_graphs_keep_keys_and_compute_windows_like_the_modules() -> None:
    model = with_biases_and_shared_keys()
    ids, positions = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8]), torch.arange(8)

    def window(forward: FamilyModel | GraphedModel) -> torch.Tensor:
        store = KeyValues()
        forward.hidden(ids, positions, [8], None, [Kept(store, fills=True)])
        return forward.hidden(torch.tensor([9, 9, 9]), torch.arange(3, 6), [3], None, [Kept(store, 3, 2)])

    torch.testing.assert_close(window(GraphedModel(model)), window(model), atol=1e-5, rtol=1e-4)


GRAPHED = GraphedModel(small(d_model=64, mlp_hidden_size=96))


@given(st.integers(graphs.ROW_QUANTUM, 80), st.integers(0, 2**32))
@torch.inference_mode()
def test_a_row_is_the_same_to_the_bit_however_many_there_are(num_rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sequence = torch.randint(0, 12, (4,), generator=generator)
    ids = torch.cat((sequence, torch.randint(0, 12, (num_rows - 4,), generator=generator)))
    positions = torch.cat((torch.arange(4), torch.arange(num_rows - 4)))
    together = GRAPHED.head(GRAPHED.hidden(ids, positions, [4, num_rows - 4][: 1 + (num_rows > 4)]))
    assert torch.equal(GRAPHED.head(GRAPHED.hidden(sequence, torch.arange(4), [4])), together[:4])


def test_only_small_float32_models_of_plain_layers_are_graphed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_run(small())
    assert not can_run(copied(small(), CPU, torch.bfloat16))
    special = small()
    special.stack().layers[0].q_proj = torch.nn.utils.parametrizations.weight_norm(Linear(8, 8))
    assert not can_run(special)
    monkeypatch.setattr(graphs, "MAX_WEIGHT_BYTES", 1000)
    assert not can_run(small())


def test_without_onnx_runtime_modules_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    assert not can_run(small())


def test_a_lack_of_memory_is_told_by_its_python_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class FullSession:
        def run(self, *_: object) -> None:
            raise Exception("Non-zero status code while running MatMul node. Status Message: std::bad_alloc")

    graphed = GraphedModel(small())
    monkeypatch.setattr(graphed._head, "_session", FullSession())
    with pytest.raises(MemoryError, match="bad_alloc"):
        graphed.head(torch.zeros(4, 8))
