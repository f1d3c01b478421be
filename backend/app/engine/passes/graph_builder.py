"""ONNX graphs in the making: operators by name, the products and norms of a layer, and a session that runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.engine.models.layers import Linear, RMSNorm
from app.engine.models.quantisation import MAX_QUANT, MIN_SCALE, Int8Linear, QuantisedLinear

_OPSET = 23
"""The first with RMSNormalization, RotaryEmbedding and Attention."""
_OWN_DOMAIN = "com.microsoft"
"""Domain of the operators that ONNX Runtime has and ONNX has not."""
_ZERO = 128
"""The byte that stands for 0: products of a byte without a sign and one with are the fast ones."""
_SPIN_US = 30
"""Microseconds that threads wait awake for the next product. As in `app.engine`: those that wait for long take the
processor from others, and those that sleep at once are late."""

Array = npt.NDArray[Any]


class GraphBuilder:
    """Nodes of one graph, each named after what it computes."""

    def __init__(self) -> None:
        from onnx import TensorProto, helper, numpy_helper

        self._helper, self._numpy, self._types = helper, numpy_helper, TensorProto
        self._inputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._weights: dict[str, Array] = {}
        self._bytes: dict[str, tuple[str, str]] = {}

    def given(self, name: str, shape: Sequence[int | str], *, floats: bool = False) -> str:
        """An input; letters stand for sizes that differ from pass to pass."""
        kind = self._types.FLOAT if floats else self._types.INT64
        self._inputs.append(self._helper.make_tensor_value_info(name, kind, shape))
        return name

    def node(self, kind: str, *inputs: str, name: str, also: Sequence[str] = (), **attributes: Any) -> str:
        """An operator; gives the name of its result. `also`: names of further results."""
        self._nodes.append(self._helper.make_node(kind, list(inputs), [name, *also], **attributes))
        return name

    def constant(self, value: Array, name: str) -> str:
        """A number, or a few, that are the same in every pass."""
        self._constants[name] = self._numpy.from_array(value, name)
        return name

    def weight(self, value: Tensor, name: str) -> str:
        """A weight of the model. The graph has its shape only: the session reads the numbers where the model has them,
        where written into the graph they would be copied five times."""
        numbers = np.ascontiguousarray(value.numpy())
        kind = self._helper.np_dtype_to_tensor_dtype(numbers.dtype)
        weight = self._types(name=name, dims=numbers.shape, data_type=kind, data_location=self._types.EXTERNAL)
        for key, text in (("location", "memory"), ("length", str(numbers.nbytes))):
            weight.external_data.add(key=key, value=text)
        self._constants[name], self._weights[name] = weight, numbers
        return name

    def shaped(self, x: str, *shape: int, name: str) -> str:
        wanted = self.constant(np.array(shape, np.int64), "shape_" + "_".join(map(str, shape)))
        return self.node("Reshape", x, wanted, name=name)

    def product(self, x: str, weight: Tensor, name: str, bias: Tensor | None = None) -> str:
        """x [N, in] times a weight [out, in], and a bias [out] -> [N, out]."""
        inputs = [x, self.weight(weight, f"{name}_weight")]
        if bias is not None:
            inputs.append(self.weight(bias, f"{name}_bias"))
        return self.node("Gemm", *inputs, name=name, transB=1)

    def linear(self, x: str, linear: Linear | QuantisedLinear, name: str) -> str:
        if not isinstance(linear, QuantisedLinear):
            return self.product(x, linear.weight, name, linear.bias)
        if linear.bias is None:
            return self.product_of_bytes(x, cast(Int8Linear, linear.product), name)
        product = self.product_of_bytes(x, cast(Int8Linear, linear.product), f"{name}_product")
        return self.node("Add", product, self.weight(linear.bias, f"{name}_bias"), name=name)

    def product_of_bytes(self, x: str, linear: Int8Linear, name: str) -> str:
        """The product of an `Int8Linear`: sums of whole numbers, times a scale for each row and one for each output."""
        quantised, row_scales = self._quantised(x)
        qweight = self.weight(linear.numbers(), f"{name}_qweight")
        scales = self.weight(linear.scales, f"{name}_scales")
        inputs = (quantised, qweight, self._number(1 / MAX_QUANT), scales, self._number(_ZERO, np.uint8))
        sums = self.node("MatMulIntegerToFloat", *inputs, name=f"{name}_sums", domain=_OWN_DOMAIN)
        return self.node("Mul", sums, row_scales, name=name)

    def _quantised(self, x: str) -> tuple[str, str]:
        """Rows as bytes, and the largest number of each, once for all projections of the same rows. A row with NaN gets
        NaN by its mean: ReduceMax passes over NaN that does not come first, and QuantizeLinear makes a byte of it."""
        if x not in self._bytes:
            axis = self.constant(np.array([-1], np.int64), "last_axis")
            sizes = self.node("ReduceMax", self.node("Abs", x, name=f"{x}_size"), axis, name=f"{x}_largest_or_0")
            mean = self.node("ReduceMean", x, axis, name=f"{x}_mean")
            largest = self.node("Max", sizes, mean, self._number(MIN_SCALE), name=f"{x}_largest")
            inputs = (
                self.node("Div", x, largest, name=f"{x}_scaled"),
                self._number(1 / MAX_QUANT),
                self._number(_ZERO, np.uint8),
            )
            self._bytes[x] = self.node("QuantizeLinear", *inputs, name=f"{x}_bytes"), largest
        return self._bytes[x]

    def _number(self, value: float, dtype: type[np.generic] = np.float32) -> str:
        return self.constant(np.array(value, dtype), f"{dtype.__name__}_{value}")

    def norm(self, x: str, norm: RMSNorm, name: str) -> str:
        weight = self.weight(norm.weight, f"{name}_weight")
        return self.node("RMSNormalization", x, weight, name=name, axis=-1, epsilon=norm.eps)

    def session(self, outputs: Sequence[str]) -> GraphSession:
        """A session that computes some of the nodes."""
        wanted = [self._helper.make_tensor_value_info(name, self._types.FLOAT, None) for name in outputs]
        graph = self._helper.make_graph(self._nodes, "pass", self._inputs, wanted, list(self._constants.values()))
        opsets = [self._helper.make_opsetid("", _OPSET), self._helper.make_opsetid(_OWN_DOMAIN, 1)]
        content = self._helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
        return GraphSession(content, self._weights)


class GraphSession:
    """A session of ONNX Runtime.

    Args:
        content: the graph, as ONNX writes it.
        weights: what it leaves out, by name. The session reads some of it at every pass, and does not keep it alive.
    """

    def __init__(self, content: bytes, weights: Mapping[str, Array]) -> None:
        from onnxruntime import InferenceSession, OrtValue

        options = _options()
        options.add_external_initializers([*weights], [*map(OrtValue.ortvalue_from_numpy, weights.values())])
        self._weights = weights
        self._session = InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(self, outputs: Sequence[str], arrays: Mapping[str, Array]) -> list[Array]:
        """The outputs of one pass."""
        results: list[Array] = self._session.run(outputs, arrays)
        return results


def _options() -> Any:
    from onnxruntime import SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
    options.add_session_config_entry("session.force_spinning_stop", "1")  # the next pass may be long in coming
    # Passes come in any number of rows, and what is planned for one is of no use to the next.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # what goes wrong is raised
    return options
