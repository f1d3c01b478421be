"""A small model's forward pass as one ONNX Runtime graph, for CPUs.

With few tokens a pass of PyTorch modules spends most of its time between the matrix products: in calls, in small
copies, in threads that fall asleep. A graph has none of that. The arithmetic is that of the modules, in float32 and
with weights of int8, and results agree to rounding. What each array holds is said in `layout.py`, with an example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import cast

import torch
from torch import Tensor, nn

from app.engine.device.devices import is_out_of_memory
from app.engine.families.registry import family_named
from app.engine.models.base import FamilyModel, LayerParts
from app.engine.models.layers import Linear, RMSNorm
from app.engine.models.quantisation import Int8Linear, QuantisedLinear, multiplies_int8
from app.engine.passes.graph_builder import Array, GraphBuilder

MAX_WEIGHT_BYTES = 128 * 1024**2
"""Graphs hold a packed copy each; and the larger a model, the more of its time is in the matrix products anyway."""

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
        and may_run(sum(weight.numel() * weight.element_size() for weight in weights))
    )


def may_run(weight_bytes: int) -> bool:
    """Whether so many bytes of weights are few enough for graphs, and ONNX Runtime is installed."""
    return weight_bytes <= MAX_WEIGHT_BYTES and all(find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def _is_writable(linear: nn.Module) -> bool:
    if isinstance(linear, QuantisedLinear):
        return isinstance(linear.product, Int8Linear) and multiplies_int8(torch.device("cpu"))
    return type(linear) is Linear


@dataclass(frozen=True, slots=True)
class PassOutput:
    """The results of a pass."""

    logits: Array
    """[R, V]"""
    fresh: list[Array]
    """Keys and values of all tokens of the pass, [B, K, T, D]: those of the first layer, then of the next. Keys are
    rotated, unless their tokens may move (`caches_unrotated`)."""


class GraphError(RuntimeError):
    """ONNX Runtime could not build a graph or run it, and not for lack of memory."""


class PassGraph:
    """A compiled graph from token ids to logits.

    Args:
        reads_cache: tokens see keys of earlier passes too, which are given as they came; else only each other's.

    Raises:
        MemoryError: there is no room for it.
        GraphError: it cannot be built for another reason.
    """

    def __init__(self, model: FamilyModel, *, reads_cache: bool) -> None:
        self._names = ["logits", *fresh_names(len(model.stack().layers))]
        with _failures():
            self._session = _PassBuilder(model, reads_cache).session(self._names)

    def run(self, arrays: Mapping[str, Array], stores: bool) -> PassOutput:
        """One pass.

        Args:
            arrays: as `layout.py` makes them.
            stores: whether the fresh keys and values are wanted.

        Raises:
            MemoryError: the pass did not fit.
            GraphError: it failed for another reason.
        """
        with _failures():
            logits, *fresh = self._session.run(self._names if stores else self._names[:1], arrays)
        return PassOutput(logits, fresh)


@contextmanager
def _failures() -> Iterator[None]:
    """Raises what the library does as one of two errors: it has a type of its own, and speaks of a lack of memory in
    words only."""
    try:
        yield
    except Exception as error:
        kind = MemoryError if is_out_of_memory(error) else GraphError
        raise kind(str(error)) from error


def caches_unrotated(model: FamilyModel) -> bool:
    """Whether keys are cached as they are before rotation, for tokens may come and go before them."""
    return family_named(model.config.family).span.changes_length


def fresh_names(num_layers: int) -> list[str]:
    """Outputs beside the logits: keys and values of the pass, layer by layer."""
    return [f"layer_{layer}_{kind}" for layer in range(num_layers) for kind in ("k", "v")]


def cached_names(num_layers: int) -> list[str]:
    """Inputs of a graph that reads the cache: keys and values of earlier passes, layer by layer."""
    return [f"cached_{layer}_{kind}" for layer in range(num_layers) for kind in ("k", "v")]


class _PassBuilder(GraphBuilder):
    """Writes the graph of one model. Letters of shapes are those of `layout.py`.

    Keys of two heads, in the example that is drawn there, on their way from the product to attention:

        product      [8, 2·D]       a row for each token of the pass
        by head      [16, D]        token i and head h stand in row 2 · i + h
        key_rows     [2, 2, 3]      of a [[0 2 4] [1 3 5]], of b [[6 8 6] [7 9 7]]: head by head, tokens 0 1 2 and 3 4 3
        spread       [2, 2, 3, D]   what attention takes, and what is cached

    Queries go the same way by `query_rows`, and results come back by `attended_rows`.
    """

    def __init__(self, model: FamilyModel, reads_cache: bool) -> None:
        super().__init__()
        self._config, self._reads_cache = model.config, reads_cache
        self._unrotated = caches_unrotated(model)
        stack, head_dim = model.stack(), model.config.head_dim
        self.given("positions", [1, "N"])
        self.given("cos", ["P", head_dim // 2], floats=True)
        self.given("sin", ["P", head_dim // 2], floats=True)
        self.given("key_rows", ["B", "K", "T"])
        self.given("key_positions", ["B", "T"])
        if reads_cache:
            for name in cached_names(len(stack.layers)):
                self.given(name, ["B", "K", "S", head_dim], floats=True)
        if reads_cache and self._unrotated:
            self.given("cached_positions", ["B", "S"])
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
        return self.weight(cast(Tensor, embedding.weight), "embedding")

    def _give_queries(self, prefix: str) -> None:
        self.given(f"{prefix}query_rows", ["B", "C", "L"])
        self.given(f"{prefix}attended_rows", ["N", "H"])
        self.given(f"{prefix}mask", ["B", 1, "L", "T + S"], floats=True)

    def _layer(self, x: str, parts: LayerParts, name: str, prefix: str) -> str:
        """One layer: states x [N, d] -> [N, d]. Of the last one, whose prefix is `last_`, what lies behind its keys and
        values is computed for the wanted rows only -> [R, d]."""
        normed = self.norm(x, parts.attention_norm, f"{name}_attention_norm")
        rotated, plain = (f"{name}_k", f"{name}_k_plain") if not self._unrotated else (f"{name}_k_rotated", f"{name}_k")
        keys = self._by_head(self.linear(normed, parts.k, f"{name}_keys"), parts.k_norm)
        spread = self.node("Gather", keys, "key_rows", name=plain)
        k = self.node("RotaryEmbedding", spread, "cos", "sin", "key_positions", name=rotated)
        values = self._by_head(self.linear(normed, parts.v, f"{name}_values"))
        v = self.node("Gather", values, "key_rows", name=f"{name}_v")
        positions = "positions"
        if prefix:
            x = self.node("Gather", x, "rows", name=f"{name}_rows")
            normed = self.node("Gather", normed, "rows", name=f"{name}_normed_rows")
            positions = "row_positions"
        queries = self.linear(normed, parts.q, f"{name}_q")
        if parts.q_norm is not None:
            queries = self._by_head(queries, parts.q_norm)
        q = self._rotated(queries, positions, self._config.num_heads)
        attended = self._attention(q, k, v, name, prefix)
        x = self.node("Add", x, self.linear(attended, parts.out, f"{name}_out"), name=f"{name}_attended")
        return self._mlp(x, parts, name)

    def _rotated(self, x: str, positions: str, num_heads: int) -> str:
        """x [N, heads·D] or [N·heads, D] -> [1, N, heads·D]"""
        stacked = self.shaped(x, 1, -1, num_heads * self._config.head_dim, name=f"{x}_stacked")
        inputs = (stacked, "cos", "sin", positions)
        return self.node("RotaryEmbedding", *inputs, name=f"{x}_rotated", num_heads=num_heads)

    def _by_head(self, x: str, norm: RMSNorm | None = None) -> str:
        """x [N, heads·D] -> [N·heads, D], each head normed where there is a norm."""
        by_head = self.shaped(x, -1, self._config.head_dim, name=f"{x}_by_head")
        return by_head if norm is None else self.norm(by_head, norm, f"{x}_normed")

    def _attended(self, q: str, k: str, v: str, mask: str, name: str) -> str:
        """q [B, C, L, D] -> the same shape"""
        if not self._reads_cache:
            return self.node("Attention", q, k, v, mask, name=f"{name}_attention")
        cached_k, cached_v = (f"{name.replace('layer', 'cached')}_{kind}" for kind in ("k", "v"))
        if self._unrotated:
            inputs = (cached_k, "cos", "sin", "cached_positions")
            cached_k = self.node("RotaryEmbedding", *inputs, name=f"{cached_k}_rotated")
        # The operator puts its past before the rest. The span's own keys are given as the past: they come first (see
        # `layout.py`), and the cached ones, which are many more, are read where they are.
        both = (f"{name}_all_k", f"{name}_all_v")
        return self.node("Attention", q, cached_k, cached_v, mask, k, v, name=f"{name}_attention", also=both)

    def _attention(self, q: str, k: str, v: str, name: str, prefix: str) -> str:
        """q [1, N, H·D], k and v [B, K, T, D] -> [N, H·D]"""
        config = self._config
        by_head = self.shaped(q, -1, config.head_dim, name=f"{q}_by_head")
        spread = self.node("Gather", by_head, f"{prefix}query_rows", name=f"{q}_spread")
        attended = self._attended(spread, k, v, f"{prefix}mask", name)
        packed = self.shaped(attended, -1, config.head_dim, name=f"{name}_attention_by_head")
        gathered = self.node("Gather", packed, f"{prefix}attended_rows", name=f"{name}_attention_packed")
        return self.shaped(gathered, -1, config.num_heads * config.head_dim, name=f"{name}_attention_rows")

    def _mlp(self, x: str, parts: LayerParts, name: str) -> str:
        normed = self.norm(x, parts.mlp_norm, f"{name}_mlp_norm")
        gate = self.linear(normed, parts.gate, f"{name}_gate")
        silu = self.node("Mul", gate, self.node("Sigmoid", gate, name=f"{name}_sigmoid"), name=f"{name}_silu")
        product = self.node("Mul", silu, self.linear(normed, parts.up, f"{name}_up"), name=f"{name}_gated")
        return self.node("Add", x, self.linear(product, parts.down, f"{name}_down"), name=f"{name}_x")
