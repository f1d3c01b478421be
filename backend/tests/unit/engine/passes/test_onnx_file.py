"""Our files are those that the package `onnx` writes, byte for byte."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.engine.passes import graph_builder, onnx_file
from app.engine.passes.graphs import PassGraph
from app.engine.passes.onnx_file import Type
from tests.unit.engine.checkpoints import small_dream

NUMBERS: list[graph_builder.Array] = [
    np.array([-1], np.int64),
    np.array(1 / 127, np.float32),
    np.array(128, np.uint8),
    np.arange(-300, 300, dtype=np.float32).reshape(2, 300),
    np.array([[-128, 127]], np.int8),
]


@pytest.mark.parametrize("numbers", NUMBERS, ids=lambda numbers: f"{numbers.dtype}{numbers.shape}")
def test_tensors_are_written_with_their_numbers(numbers: graph_builder.Array) -> None:
    assert onnx_file.tensor("a", numbers) == numpy_helper.from_array(numbers, "a").SerializeToString()


def test_tensors_are_written_without_their_numbers() -> None:
    read = TensorProto.FromString(onnx_file.external_tensor("a", NUMBERS[3]))
    assert (read.name, [*read.dims], read.data_type, read.raw_data) == ("a", [2, 300], TensorProto.FLOAT, b"")
    assert read.data_location == TensorProto.EXTERNAL
    assert {entry.key: entry.value for entry in read.external_data} == {"location": "memory", "length": "2400"}


@pytest.mark.parametrize("kind", Type)
def test_types_have_the_numbers_that_onnx_gives_them(kind: Type) -> None:
    assert kind == getattr(TensorProto, kind.name)
    assert onnx_file.type_of(helper.tensor_dtype_to_np_dtype(kind)) is kind


@pytest.mark.parametrize("shape", [["B", 1, "T + S", 20000], [], None])
def test_inputs_are_written_with_sizes_and_letters(shape: list[int | str] | None) -> None:
    expected = helper.make_tensor_value_info("mask", TensorProto.FLOAT, shape)
    assert onnx_file.value("mask", Type.FLOAT, shape) == expected.SerializeToString()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, -1, -(2**63), 2**63 - 1])
def test_whole_numbers_are_written_at_any_length(number: int) -> None:
    node = helper.make_node("Norm", ["x"], ["y", "z"], axis=number, epsilon=1e-6, domain="com.microsoft")
    written = onnx_file.node("Norm", ["x"], ["y", "z"], "com.microsoft", epsilon=1e-6, axis=number)
    assert written == node.SerializeToString()


def test_a_whole_model_is_written_as_onnx_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    class Session(graph_builder.GraphSession):
        def __init__(self, content: bytes, weights: dict[str, graph_builder.Array]) -> None:
            super().__init__(content, weights)
            written.append(content)

    monkeypatch.setattr(graph_builder, "GraphSession", Session)
    for reads_cache in (False, True):
        PassGraph(small_dream(num_hidden_layers=2), reads_cache=reads_cache)
    for content in written:
        model = onnx.load_model_from_string(content)
        assert model.SerializeToString(deterministic=True) == content
        assert {opset.domain: opset.version for opset in model.opset_import} == {"": 23, "com.microsoft": 1}
