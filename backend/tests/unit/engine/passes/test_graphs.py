from __future__ import annotations

import numpy as np
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException as OrtError

from app.engine.models.layers import Linear
from app.engine.passes import graph_builder, graphs
from app.engine.passes.graphs import PassGraph, can_run
from app.engine.recovery import copied
from tests.unit.engine.checkpoints import small_llada

CPU = torch.device("cpu")


def test_only_small_float32_models_of_plain_layers_are_graphed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_run(small_llada())
    assert not can_run(copied(small_llada(), CPU, torch.bfloat16))
    special = small_llada()
    special.stack().layers[0].q_proj = torch.nn.utils.parametrizations.weight_norm(Linear(8, 8))
    assert not can_run(special)
    monkeypatch.setattr(graphs, "MAX_WEIGHT_BYTES", 1000)
    assert not can_run(small_llada())


def test_without_onnx_runtime_modules_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    assert not can_run(small_llada())


def test_graphs_read_weights_where_the_model_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, np.ndarray]] = []

    class Session(graph_builder.GraphSession):
        def __init__(self, content: bytes, weights: dict[str, np.ndarray]) -> None:
            super().__init__(content, weights)
            given.append(weights)

    monkeypatch.setattr(graph_builder, "GraphSession", Session)
    model = small_llada()
    for reads_cache in (False, True):
        PassGraph(model, reads_cache=reads_cache)
    places = {weight.data_ptr() for weight in model.parameters()}
    assert [{weight.ctypes.data for weight in weights.values()} for weights in given] == [places, places]


def test_a_lack_of_memory_is_raised_as_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class FullSession:
        def run(self, *_: object) -> None:
            raise OrtError("Non-zero status code while running Gemm node. Status Message: std::bad_alloc")

    graph = PassGraph(small_llada(), reads_cache=False)
    monkeypatch.setattr(graph, "_session", FullSession())
    with pytest.raises(MemoryError, match="bad_alloc"):
        graph.run({}, stores=False)
