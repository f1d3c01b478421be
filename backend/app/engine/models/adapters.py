"""Adapters: small changes of a model's projections, computed beside its weights (LoRA, arXiv 2106.09685).

    y = W·x + B·(A·x)        A [rank, I], B [O, rank] times its scale; W is the base's, and stays as it is

So any number of adapters share one model, and one pass. Each sequence's rows get the products of its own adapter, by
themselves: their number alone decides by which kernel, whatever else is in the batch. Two sequences, the second with an
adapter, and a quantum of 4:

    tokens        a0 a1 a2 b0 b1 F  F  F        every projection computes all of them with W …
    changed                b0 b1                … then these get their change on top
    product       b0 b1 0  0                    filled up to the quantum, A and B, the first two rows added

In the last layer, what follows attention is computed for the wanted rows only: there a sequence has other rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.engine.device.devices import row_quantum
from app.engine.models.base import FamilyModel


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one projection."""

    down: Tensor
    """A [rank, I]"""
    up: Tensor
    """B [O, rank], times the scale"""

    @property
    def num_bytes(self) -> int:
        """Bytes of both."""
        return sum(matrix.numel() * matrix.element_size() for matrix in (self.down, self.up))

    def to(self, device: torch.device, dtype: torch.dtype) -> Change:
        return Change(self.down.to(device, dtype), self.up.to(device, dtype))

    def product(self, x: Tensor) -> Tensor:
        """x [n, I] -> [n, O]."""
        return (x @ self.down.T) @ self.up.T


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Adapter:
    """The changes of one adapter, by the names of the projections' modules. Two are equal if they are the same one."""

    changes: Mapping[str, Change]

    @property
    def num_bytes(self) -> int:
        """Bytes of all its matrices."""
        return sum(change.num_bytes for change in self.changes.values())

    def to(self, device: torch.device, dtype: torch.dtype) -> Adapter:
        """The adapter there; tensors that are there already are shared."""
        return Adapter({name: change.to(device, dtype) for name, change in self.changes.items()})


@dataclass(frozen=True, slots=True)
class AdaptedRows:
    """The rows of a pass that an adapter changes."""

    adapter: Adapter
    tokens: range
    """Rows among all tokens of the pass."""
    wanted: range
    """Rows among the wanted ones."""


@dataclass(frozen=True, slots=True)
class _Addition:
    """A change of some rows of one projection."""

    rows: range
    change: Change

    def add(self, x: Tensor, y: Tensor) -> None:
        """Changes y [N, O], which the projection has computed of x [N, I]."""
        rows = slice(self.rows.start, self.rows.stop)
        own = x[rows]
        if x.device.type == "cpu":  # a copy, in which the rows lie as they do when the sequence is alone
            own = F.pad(own, (0, 0, 0, -len(own) % row_quantum(x.device)))
        y[rows] += self.change.product(own)[: len(self.rows)]


class AdaptedModel:
    """A model whose passes may have adapters. Their matrices lie where the model does, from their first pass on until
    nobody holds them any more. Belongs to one thread, as the model does."""

    def __init__(self, model: FamilyModel) -> None:
        self._modules = dict(model.named_modules())
        self._head_name = head_name(model)
        self._late_names = _names_behind_attention(model)
        weight = next(model.parameters())
        self._device, self._dtype = weight.device, weight.dtype
        self._placed: WeakKeyDictionary[Adapter, Adapter] = WeakKeyDictionary()

    @contextmanager
    def adapted(self, rows: Sequence[AdaptedRows]) -> Iterator[None]:
        """Has the projections add their changes to these rows until the block ends. The head is no module that is
        called: `adapt_head` is."""
        with ExitStack() as hooks:
            for name, additions in self._additions(rows).items():
                if name != self._head_name:
                    hooks.callback(self._modules[name].register_forward_hook(partial(_add, additions)).remove)
            yield

    def adapt_head(self, rows: Sequence[AdaptedRows], states: Tensor, logits: Tensor) -> None:
        """Adds the changes of the head to logits [R, V], computed of states [R, d]."""
        for addition in self._additions(rows).get(self._head_name, ()):
            addition.add(states, logits)

    def _additions(self, rows: Sequence[AdaptedRows]) -> dict[str, list[_Addition]]:
        """The additions to each module, by its name."""
        additions: dict[str, list[_Addition]] = {}
        for each in rows if self._device.type == "cpu" else _joined(rows):
            for name, change in self._here(each.adapter).changes.items():
                own = each.wanted if name in self._late_names else each.tokens
                if own:
                    additions.setdefault(name, []).append(_Addition(own, change))
        return additions

    def _here(self, adapter: Adapter) -> Adapter:
        placed = self._placed.get(adapter)
        if placed is None:
            placed = self._placed[adapter] = adapter.to(self._device, self._dtype)
        return placed


def head_name(model: FamilyModel) -> str:
    """The name of the head as a module, whether it has a matrix of its own or not."""
    return model.HEAD_NAME.removesuffix(".weight")


def _names_behind_attention(model: FamilyModel) -> frozenset[str]:
    """Names of the modules that see the wanted rows only: the head, and those of the last layer."""
    parts = model.stack().layers[-1].parts()
    late = {parts.out, parts.gate, parts.up, parts.down}
    return frozenset({head_name(model), *(name for name, module in model.named_modules() if module in late)})


def _add(additions: Sequence[_Addition], module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
    """A hook: `output` has just been computed, and nobody else holds it."""
    for addition in additions:
        addition.add(inputs[0], output)


def _joined(rows: Sequence[AdaptedRows]) -> list[AdaptedRows]:
    """Neighbours with one adapter as one, where kernels see the batch anyway: a GPU wants few and large products."""
    joined: list[AdaptedRows] = []
    for each in rows:
        last = joined[-1] if joined else None
        if last and last.adapter is each.adapter and last.tokens.stop == each.tokens.start:
            tokens, wanted = (
                range(a.start, b.stop) for a, b in ((last.tokens, each.tokens), (last.wanted, each.wanted))
            )
            joined[-1] = AdaptedRows(each.adapter, tokens, wanted)
        else:
            joined.append(each)
    return joined
