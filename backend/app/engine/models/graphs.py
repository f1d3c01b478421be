"""A small model's layers as ONNX Runtime graphs, for CPUs.

With few tokens a pass of PyTorch modules spends most of its time between the matrix products. A graph is all that lies
between two attentions: projection out, MLP, norm, projections in. Attention itself stays where batches of unequal
sequences and kept keys are understood (`attention.py`). The arithmetic is that of the modules in float32, and results
agree to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from app.engine.models.attention import Extra, PackedAttention
from app.engine.models.base import FamilyModel, LayerParts
from app.engine.models.layers import Linear, RMSNorm, chosen

MAX_WEIGHT_BYTES = 256 * 1024**2
"""Graphs hold copies of the weights; and the larger a model, the more of its time is in the matrix products anyway."""

ROW_QUANTUM = 4
"""Rows from which on a row's result does not depend on how many there are."""

_OPSET = 23
"""The first with RMSNormalization."""


def can_run(model: FamilyModel) -> bool:
    """Whether the model is one for graphs, and ONNX Runtime is installed."""
    weights = list(model.parameters())
    return (
        all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in weights)
        and all(type(linear) is Linear for layer in model.stack().layers for linear in layer.parts().linears)
        and sum(weight.numel() * weight.element_size() for weight in weights) <= MAX_WEIGHT_BYTES
        and all(find_spec(name) is not None for name in ("onnx", "onnxruntime"))
    )


class GraphedModel:
    """Computes what `model` computes, behind the same two methods."""

    def __init__(self, model: FamilyModel) -> None:
        stack = model.stack()
        layers = [layer.parts() for layer in stack.layers]
        self._model = model
        self._embedding = stack.embedding
        self._graphs = [
            _between(before, behind, stack.norm)
            for before, behind in zip([None, *layers], [*layers, None], strict=True)
        ]
        self._head = _head(stack.head)

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor,
        lengths: Sequence[int],
        rows: Tensor | None = None,
        extras: Sequence[Extra | None] = (),
    ) -> Tensor:
        """See `FamilyModel.hidden`."""
        attention = PackedAttention(self._model.rotary, positions, lengths, extras)
        first, *others, last = self._graphs
        x = self._embedding(ids)
        projected = first.run(x)
        for graph in others:
            x, *projected = graph.run(x, self._attend(attention, projected))
        return last.run(chosen(x, rows), chosen(self._attend(attention, projected), rows))[0]

    def head(self, states: Tensor) -> Tensor:
        """See `FamilyModel.head`."""
        return self._head.run(states)[0]

    def _attend(self, attention: PackedAttention, projected: Sequence[Tensor]) -> Tensor:
        config = self._model.config
        q, k, v = projected
        return attention(
            q.view(-1, config.num_heads, config.head_dim),
            k.view(-1, config.num_kv_heads, config.head_dim),
            v.view(-1, config.num_kv_heads, config.head_dim),
        )


class _Graph:
    """float32 tensors in, float32 tensors out, in the order in which they were declared."""

    def __init__(self, inputs: dict[str, int], outputs: dict[str, int], builder: _Builder) -> None:
        self._names = tuple(inputs)
        self._session = builder.session(inputs, outputs)

    def run(self, *inputs: Tensor) -> list[Tensor]:
        arrays = {name: x.numpy() for name, x in zip(self._names, inputs, strict=True)}
        try:
            outputs = self._session.run(None, arrays)
        except Exception as error:
            # The library has an error type of its own, and tells of a lack of memory in words only.
            kind = MemoryError if "bad_alloc" in str(error) else RuntimeError
            raise kind(str(error)) from error
        return [torch.from_numpy(array) for array in outputs]


class _Builder:
    """Nodes of one graph, each named after what it computes."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy = helper, numpy_helper
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def node(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        self._nodes.append(self._helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def product(self, x: str, weight: Tensor, name: str) -> str:
        """With weights [out, in]."""
        return self.node("MatMul", x, self._weight(weight.T, f"{name}_weight"), name=name)

    def linear(self, x: str, linear: Linear, name: str) -> str:
        bias = cast("Tensor | None", linear.bias)
        if bias is None:
            return self.product(x, linear.weight, name)
        product = self.product(x, linear.weight, f"{name}_product")
        return self.node("Add", product, self._weight(bias, f"{name}_bias"), name=name)

    def norm(self, x: str, norm: RMSNorm, name: str) -> str:
        weight = self._weight(norm.weight, f"{name}_weight")
        return self.node("RMSNormalization", x, weight, name=name, axis=-1, epsilon=norm.eps)

    def session(self, inputs: dict[str, int], outputs: dict[str, int]) -> Any:
        import onnxruntime

        graph = self._helper.make_graph(
            self._nodes, "layers", self._declared(inputs), self._declared(outputs), self._weights
        )
        opsets = [self._helper.make_opsetid("", _OPSET)]
        content = self._helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
        return onnxruntime.InferenceSession(content, _options(), providers=["CPUExecutionProvider"])

    def _declared(self, widths: dict[str, int]) -> list[Any]:
        """float32 arrays of so many columns."""
        return [self._helper.make_tensor_value_info(name, 1, ["rows", width]) for name, width in widths.items()]

    def _weight(self, weight: Tensor, name: str) -> str:
        self._weights.append(self._numpy.from_array(np.ascontiguousarray(weight.numpy()), name))
        return name


def _options() -> Any:
    from onnxruntime import SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # As in `app.engine`: threads that wait for long must not take the processor from others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Passes come in any number of rows, and what is kept for one is of no use to the next.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # what goes wrong is raised
    return options


def _between(before: LayerParts | None, behind: LayerParts | None, final_norm: RMSNorm) -> _Graph:
    """What follows the attention of the layer `before` (none: the embedding) and leads to that of the layer `behind`
    (none: the final norm). Gives the residual stream, where it has changed, and q, k and v."""
    builder, x = _Builder(), "x"
    width = final_norm.weight.numel()
    inputs, outputs = {"x": width}, {}
    if before is not None:
        inputs["attended"] = before.out.in_features
        x = _second_half(builder, before)
        outputs[x] = width
    if behind is None:
        return _Graph(inputs, {builder.norm(x, final_norm, "states"): width}, builder)
    normed = builder.norm(x, behind.attention_norm, "attention_norm")
    for name, linear in (("q", behind.q), ("k", behind.k), ("v", behind.v)):
        outputs[builder.linear(normed, linear, name)] = linear.out_features
    return _Graph(inputs, outputs, builder)


def _head(weight: Tensor) -> _Graph:
    builder = _Builder()
    return _Graph({"x": weight.shape[1]}, {builder.product("x", weight, "logits"): weight.shape[0]}, builder)


def _second_half(builder: _Builder, layer: LayerParts) -> str:
    x = builder.node("Add", "x", builder.linear("attended", layer.out, "out"), name="x_attended")
    normed = builder.norm(x, layer.mlp_norm, "mlp_norm")
    gate = builder.linear(normed, layer.gate, "gate")
    silu = builder.node("Mul", gate, builder.node("Sigmoid", gate, name="gate_sigmoid"), name="gate_silu")
    product = builder.node("Mul", silu, builder.linear(normed, layer.up, "up"), name="gated")
    return builder.node("Add", x, builder.linear(product, layer.down, "down"), name="x_mlp")
