"""A small model's forward pass as one ONNX Runtime graph, for CPUs.

With few tokens a pass of PyTorch modules spends most of its time between the matrix products: in calls, in small
copies, in threads that fall asleep. A graph has none of that. The arithmetic is that of the modules, in float32 and
with weights of int8, and results agree to rounding. What each array holds is said in `app/engine/passes/layout.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from app.engine.device.devices import is_out_of_memory
from app.engine.models.base import FamilyModel, LayerParts
from app.engine.models.layers import Linear, RMSNorm
from app.engine.models.quantisation import LARGEST, SMALLEST_FACTOR, Int8Linear, QuantisedLinear, multiplies_int8

MAX_WEIGHT_BYTES = 128 * 1024**2
"""Two graphs hold a copy each; and the larger a model, the more of its time is in the matrix products anyway."""

_OPSET = 23
"""The first with RMSNormalization, RotaryEmbedding and Attention."""
_OWN_DOMAIN = "com.microsoft"
"""Of operators that ONNX Runtime has and ONNX has not."""
_ZERO = 128
"""The byte that stands for 0: products of a byte without a sign and one with are the fast ones."""
_SPIN_US = 30
"""How long threads wait awake for the next product. As in `app.engine`: those that wait for long take the processor
from others, and those that sleep at once are late."""

Array = npt.NDArray[Any]


REQUIREMENTS = (
    "graphs are for models on a CPU, in float32 or int8, with at most "
    f"{MAX_WEIGHT_BYTES // 1024**2} MiB of weights, where onnx and onnxruntime are installed"
)


def can_run(model: FamilyModel) -> bool:
    """Whether the model is one for graphs, and ONNX Runtime is installed."""
    weights = [*model.parameters(), *model.buffers()]
    return (
        all(weight.device.type == "cpu" for weight in weights)
        and all(weight.dtype == torch.float32 for weight in model.parameters())
        and all(_is_writable(linear) for layer in model.stack().layers for linear in layer.parts().linears)
        and sum(weight.numel() * weight.element_size() for weight in weights) <= MAX_WEIGHT_BYTES
        and all(find_spec(name) is not None for name in ("onnx", "onnxruntime"))
    )


def _is_writable(linear: nn.Module) -> bool:
    if isinstance(linear, QuantisedLinear):
        return isinstance(linear.product, Int8Linear) and multiplies_int8(torch.device("cpu"))
    return type(linear) is Linear


@dataclass(frozen=True, slots=True)
class PassOutput:
    """What a pass gives."""

    logits: Array
    """[R, V]"""
    fresh: list[Array]
    """Keys and values of all tokens of the pass, [B, K, T, D]: those of the first layer, then of the next. Keys are
    rotated, unless their tokens may move (`keeps_unrotated`)."""


class GraphError(RuntimeError):
    """ONNX Runtime could not build a graph or run it, and not for lack of memory."""


class PassGraph:
    """From token ids to logits.

    Args:
        windowed: tokens see keys of earlier passes too, which are given as they came; else only each other's.
    """

    def __init__(self, model: FamilyModel, *, windowed: bool) -> None:
        self._names = ["logits", *fresh_names(len(model.stack().layers))]
        self._session = _PassBuilder(model, windowed).session(self._names)

    def run(self, arrays: Mapping[str, Array], keeps: bool) -> PassOutput:
        """`keeps`: whether the fresh keys and values are wanted."""
        try:
            logits, *fresh = self._session.run(self._names if keeps else self._names[:1], arrays)
        except Exception as error:
            # The library has an error type of its own, and tells of a lack of memory in words only.
            kind = MemoryError if is_out_of_memory(error) else GraphError
            raise kind(str(error)) from error
        return PassOutput(logits, fresh)


def keeps_unrotated(model: FamilyModel) -> bool:
    """Whether keys are kept as they are before rotation, for tokens may come and go before them."""
    return model.config.special.expand is not None


def fresh_names(num_layers: int) -> list[str]:
    return [f"layer_{layer}_{kind}" for layer in range(num_layers) for kind in ("k", "v")]


def kept_names(num_layers: int) -> list[str]:
    """What windows are given: keys and values of earlier passes, layer by layer."""
    return [f"kept_{layer}_{kind}" for layer in range(num_layers) for kind in ("k", "v")]


class _Builder:
    """Nodes of one graph, each named after what it computes."""

    def __init__(self) -> None:
        from onnx import TensorProto, helper, numpy_helper

        self._helper, self._numpy, self._types = helper, numpy_helper, TensorProto
        self._inputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._bytes: dict[str, tuple[str, str]] = {}

    def given(self, name: str, shape: Sequence[int | str], *, floats: bool = False) -> str:
        """An input; letters stand for sizes that differ from pass to pass."""
        kind = self._types.FLOAT if floats else self._types.INT64
        self._inputs.append(self._helper.make_tensor_value_info(name, kind, shape))
        return name

    def node(self, kind: str, *inputs: str, name: str, also: Sequence[str] = (), **attributes: Any) -> str:
        """`also`: names of further results."""
        self._nodes.append(self._helper.make_node(kind, list(inputs), [name, *also], **attributes))
        return name

    def constant(self, value: Array, name: str) -> str:
        self._constants[name] = self._numpy.from_array(np.ascontiguousarray(value), name)
        return name

    def shaped(self, x: str, *shape: int, name: str) -> str:
        wanted = self.constant(np.array(shape, np.int64), "shape_" + "_".join(map(str, shape)))
        return self.node("Reshape", x, wanted, name=name)

    def product(self, x: str, weight: Tensor, name: str) -> str:
        """With weights [out, in]."""
        return self.node("MatMul", x, self.constant(weight.T.numpy(), f"{name}_weight"), name=name)

    def linear(self, x: str, linear: Linear | QuantisedLinear, name: str) -> str:
        bias = linear.bias
        product = name if bias is None else f"{name}_product"
        if isinstance(linear, QuantisedLinear):
            self.product_of_bytes(x, cast(Int8Linear, linear.product), product)
        else:
            self.product(x, linear.weight, product)
        if bias is None:
            return product
        return self.node("Add", product, self.constant(bias.numpy(), f"{name}_bias"), name=name)

    def product_of_bytes(self, x: str, linear: Int8Linear, name: str) -> str:
        """What `Int8Linear` computes: sums of whole numbers, times a factor for each row and one for each output."""
        numbers, row_factors = self._rounded(x)
        weights = self.constant(linear.numbers.numpy(), f"{name}_weights")
        factors = self.constant(linear.factors.numpy(), f"{name}_factors")
        inputs = (numbers, weights, self._number(1 / LARGEST), factors, self._number(_ZERO, np.uint8))
        sums = self.node("MatMulIntegerToFloat", *inputs, name=f"{name}_sums", domain=_OWN_DOMAIN)
        return self.node("Mul", sums, row_factors, name=name)

    def _rounded(self, x: str) -> tuple[str, str]:
        """Rows as bytes, and their largest numbers, once for all projections of the same rows."""
        if x not in self._bytes:
            axis = self.constant(np.array([-1], np.int64), "last_axis")
            sizes = self.node("ReduceMax", self.node("Abs", x, name=f"{x}_size"), axis, name=f"{x}_largest_or_0")
            largest = self.node("Max", sizes, self._number(SMALLEST_FACTOR), name=f"{x}_largest")
            inputs = (
                self.node("Div", x, largest, name=f"{x}_scaled"),
                self._number(1 / LARGEST),
                self._number(_ZERO, np.uint8),
            )
            self._bytes[x] = self.node("QuantizeLinear", *inputs, name=f"{x}_bytes"), largest
        return self._bytes[x]

    def _number(self, value: float, dtype: type[np.generic] = np.float32) -> str:
        return self.constant(np.array(value, dtype), f"{dtype.__name__}_{value}")

    def norm(self, x: str, norm: RMSNorm, name: str) -> str:
        weight = self.constant(norm.weight.numpy(), f"{name}_weight")
        return self.node("RMSNormalization", x, weight, name=name, axis=-1, epsilon=norm.eps)

    def session(self, outputs: Sequence[str]) -> Any:
        import onnxruntime

        told = [self._helper.make_tensor_value_info(name, self._types.FLOAT, None) for name in outputs]
        graph = self._helper.make_graph(self._nodes, "pass", self._inputs, told, list(self._constants.values()))
        opsets = [self._helper.make_opsetid("", _OPSET), self._helper.make_opsetid(_OWN_DOMAIN, 1)]
        content = self._helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
        return onnxruntime.InferenceSession(content, _options(), providers=["CPUExecutionProvider"])


class _PassBuilder(_Builder):
    """Letters of shapes as in `app/engine/passes/layout.py`."""

    def __init__(self, model: FamilyModel, windowed: bool) -> None:
        super().__init__()
        self._config, self._windowed = model.config, windowed
        self._unrotated = keeps_unrotated(model)
        stack, head_dim = model.stack(), model.config.head_dim
        self.given("positions", [1, "N"])
        self.given("cos", ["P", head_dim // 2], floats=True)
        self.given("sin", ["P", head_dim // 2], floats=True)
        self.given("key_rows", ["B", "K", "T"])
        self.given("key_positions", ["B", "T"])
        if windowed:
            for name in kept_names(len(stack.layers)):
                self.given(name, ["B", "K", "S", head_dim], floats=True)
        if windowed and self._unrotated:
            self.given("kept_positions", ["B", "S"])
        self._give_queries("")
        self._give_queries("last_")
        self.given("rows", ["R"])
        self.given("row_positions", [1, "R"])
        x = self.node("Gather", self._embedding(stack.embedding), self.given("ids", ["N"]), name="x")
        *layers, last = [layer.parts() for layer in stack.layers]
        for number, parts in enumerate(layers):
            x = self._layer(x, parts, f"layer_{number}", "")
        x = self._layer(x, last, f"layer_{len(layers)}", "last_")
        self.product(self.norm(x, stack.norm, "states"), stack.head, "logits")

    def _embedding(self, embedding: nn.Module) -> str:
        return self.constant(cast(Tensor, embedding.weight).numpy(), "embedding")

    def _give_queries(self, prefix: str) -> None:
        self.given(f"{prefix}query_rows", ["B", "C", "L"])
        self.given(f"{prefix}places", ["N", "H"])
        self.given(f"{prefix}mask", ["B", 1, "L", "T + S"], floats=True)

    def _layer(self, x: str, parts: LayerParts, name: str, prefix: str) -> str:
        """With the prefix of the last layer: what lies behind its keys and values is computed for the wanted rows."""
        normed = self.norm(x, parts.attention_norm, f"{name}_attention_norm")
        rotated, plain = (f"{name}_k", f"{name}_k_plain") if not self._unrotated else (f"{name}_k_rotated", f"{name}_k")
        spread = self._spread(self.linear(normed, parts.k, f"{name}_keys"), plain)
        k = self.node("RotaryEmbedding", spread, "cos", "sin", "key_positions", name=rotated)
        v = self._spread(self.linear(normed, parts.v, f"{name}_values"), f"{name}_v")
        positions = "positions"
        if prefix:
            x = self.node("Gather", x, "rows", name=f"{name}_rows")
            normed = self.node("Gather", normed, "rows", name=f"{name}_normed_rows")
            positions = "row_positions"
        q = self._rotated(self.linear(normed, parts.q, f"{name}_q"), positions, self._config.num_heads)
        attended = self._attention(q, k, v, name, prefix)
        x = self.node("Add", x, self.linear(attended, parts.out, f"{name}_out"), name=f"{name}_attended")
        return self._mlp(x, parts, name)

    def _rotated(self, x: str, positions: str, num_heads: int) -> str:
        """x [N, heads·D], not yet by heads -> [1, N, heads·D]"""
        stacked = self.shaped(x, 1, -1, num_heads * self._config.head_dim, name=f"{x}_stacked")
        inputs = (stacked, "cos", "sin", positions)
        return self.node("RotaryEmbedding", *inputs, name=f"{x}_rotated", num_heads=num_heads)

    def _spread(self, x: str, name: str) -> str:
        """x [N, K·D] -> [B, K, T, D]"""
        by_head = self.shaped(x, -1, self._config.head_dim, name=f"{x}_by_head")
        return self.node("Gather", by_head, "key_rows", name=name)

    def _attended(self, q: str, k: str, v: str, mask: str, name: str) -> str:
        """q [B, C, L, D] -> the same shape"""
        if not self._windowed:
            return self.node("Attention", q, k, v, mask, name=f"{name}_attention")
        kept_k, kept_v = (f"{name.replace('layer', 'kept')}_{kind}" for kind in ("k", "v"))
        if self._unrotated:
            inputs = (kept_k, "cos", "sin", "kept_positions")
            kept_k = self.node("RotaryEmbedding", *inputs, name=f"{kept_k}_rotated")
        # What the operator takes for the past stands before the rest, without a copy of it before.
        both = (f"{name}_all_k", f"{name}_all_v")
        return self.node("Attention", q, kept_k, kept_v, mask, k, v, name=f"{name}_attention", also=both)

    def _attention(self, q: str, k: str, v: str, name: str, prefix: str) -> str:
        """q [1, N, H·D], k and v [B, K, T, D] -> [N, H·D]"""
        config = self._config
        by_head = self.shaped(q, -1, config.head_dim, name=f"{q}_by_head")
        spread = self.node("Gather", by_head, f"{prefix}query_rows", name=f"{q}_spread")
        attended = self._attended(spread, k, v, f"{prefix}mask", name)
        packed = self.shaped(attended, -1, config.head_dim, name=f"{name}_attention_by_head")
        gathered = self.node("Gather", packed, f"{prefix}places", name=f"{name}_attention_packed")
        return self.shaped(gathered, -1, config.num_heads * config.head_dim, name=f"{name}_attention_rows")

    def _mlp(self, x: str, parts: LayerParts, name: str) -> str:
        normed = self.norm(x, parts.mlp_norm, f"{name}_mlp_norm")
        gate = self.linear(normed, parts.gate, f"{name}_gate")
        silu = self.node("Mul", gate, self.node("Sigmoid", gate, name=f"{name}_sigmoid"), name=f"{name}_silu")
        product = self.node("Mul", silu, self.linear(normed, parts.up, f"{name}_up"), name=f"{name}_gated")
        return self.node("Add", x, self.linear(product, parts.down, f"{name}_down"), name=f"{name}_x")


def _options() -> Any:
    from onnxruntime import SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
    options.add_session_config_entry("session.force_spinning_stop", "1")  # the next pass may be long in coming
    # Passes come in any number of rows, and what is kept for one is of no use to the next.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # what goes wrong is raised
    return options
