"""Forward passes of small models on a CPU, as graphs: what goes together, what is kept, and what modules do better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from app.engine.cache.lanes import KeptKeys, Stack
from app.engine.device.memory import free_caches
from app.engine.models.attention import KeyValues
from app.engine.models.base import FamilyModel
from app.engine.models.layers import Rotary
from app.engine.passes.graphs import PassGraph, PassOutput, keeps_unrotated, kept_names
from app.engine.passes.layout import ROW_QUANTUM, Arrays, Heads, Kept, Part, arrays_of, kept_positions
from app.engine.passes.module_forward import ModuleForward, whole_unless, windows_of
from app.engine.passes.work import SequenceInput

MAX_SCORE_BYTES = 32 * 1024**2
"""Graphs hold all attention scores of a layer; a sequence that has more of them goes through the modules."""
_SPARE_SCORES = 8192
"""Scores more than their own that sequences may cost each other: with so few, a pass of one's own costs more."""


@dataclass(frozen=True)
class _Entry:
    """A sequence of the pass, and which one it is."""

    index: int
    sequence: SequenceInput
    part: Part

    @cached_property
    def kind(self) -> int:
        """Only sequences of a kind share a pass: windows of about a size, or whole sequences."""
        return 0 if self.part.kept is None else self.part.num_places

    @cached_property
    def size(self) -> tuple[int, int, int]:
        return self.kind, self.part.num_keys, self.part.num_queries


class GraphForward:
    """Sequences of similar sizes share a pass. What a sequence gets does not depend on which ones do."""

    def __init__(self, model: FamilyModel) -> None:
        config, num_layers = model.config, len(model.stack().layers)
        self._model = model
        self._heads = Heads(config.num_heads, config.num_kv_heads)
        self._num_threads = torch.get_num_threads()
        self._whole, self._window = (PassGraph(model, windowed=windowed) for windowed in (False, True))
        free_caches("cpu")  # writing a graph takes some copies of the weights, which the allocator would keep
        self._kept_names = kept_names(num_layers)
        self._may_move = keeps_unrotated(model)
        self._kept = KeptKeys()
        self._modules = ModuleForward(model)
        self._angles: Arrays = {}

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """See `Forward.logits`."""
        for name, span in windows_of(sequences):
            if span is None:  # what modules or graphs have kept of it is of no use from here on, whichever run it now
                self.forget(name)
        for_modules = [index for index, sequence in enumerate(sequences) if self._is_for_modules(sequence)]
        entries = [self._entry(*each) for each in enumerate(sequences) if each[0] not in for_modules]
        groups = _groups(entries, MAX_SCORE_BYTES // (4 * self._heads.queries))
        outputs = [self._run(group) for group in groups]
        runs = [_rows_of(group, output) for group, output in zip(groups, outputs, strict=True)]
        if for_modules:
            runs.insert(0, self._modules.logits([sequences[index] for index in for_modules]))
        for group, output in zip(groups, outputs, strict=True):  # now that nothing can fail
            if output.fresh:
                self._keep(group, output.fresh)
        if len(runs) == 1 and not for_modules:
            return runs[0]
        indices = [*for_modules, *(entry.index for group in groups for entry in group)]
        parts = torch.split(torch.cat(runs), [sequences[index].num_rows for index in indices])
        return torch.cat([parts[indices.index(index)] for index in range(len(sequences))])

    def forget(self, name: str) -> None:
        """See `Forward.forget`."""
        self._kept.drop(name)
        self._modules.forget(name)

    def kept(self, name: str) -> KeyValues | None:
        """See `Forward.kept`."""
        if name not in self._kept:
            return self._modules.kept(name)
        lane = [torch.from_numpy(array).transpose(0, 1) for array in self._kept.lane(name)]
        cos, sin = self._model.rotary.angles(torch.arange(self._kept.length(name)))
        kept = KeyValues()
        for keys, values in zip(lane[::2], lane[1::2], strict=True):
            if self._may_move:
                kept.fill(keys, Rotary.rotate(keys, cos, sin), values)
            else:
                kept.fill(Rotary.rotate(keys, cos, -sin), keys, values)
        return kept

    def keep(self, name: str, kept: KeyValues) -> None:
        """See `Forward.keep`. Windows of a sequence that is too long for graphs go on by modules."""
        if self._has_too_many_scores(len(kept)):
            self._modules.keep(name, kept)
            return
        stack: Stack = []
        for keys, rotated, values in kept.layers():
            for x in (keys if self._may_move else rotated, values):
                stack.append(x.to("cpu", torch.float32).transpose(0, 1)[None].numpy().copy())
        self._kept.keep([name], [len(kept)], stack)

    def kept_names(self) -> set[str]:
        """See `Forward.kept_names`."""
        by_graphs, by_modules = self._kept.kept_names(), self._modules.kept_names()
        assert not by_graphs & by_modules, f"{by_graphs & by_modules} are kept twice"
        return by_graphs | by_modules

    def _is_for_modules(self, sequence: SequenceInput) -> bool:
        """By its own size alone, so in any company. Windows follow the pass that filled what they look at."""
        window = sequence.window
        if window is not None and window.span is not None and window.name in self._kept:
            return False
        if window is not None and window.span is not None and self._modules.keeps(window.name):
            return True
        return self._has_too_many_scores(len(sequence.ids) + len(sequence.revisable))

    def _has_too_many_scores(self, num_tokens: int) -> bool:
        return 4 * self._heads.queries * num_tokens**2 > MAX_SCORE_BYTES

    def _entry(self, index: int, sequence: SequenceInput) -> _Entry:
        sequence = whole_unless(sequence, self._kept)
        window, (start, end) = sequence.window, sequence.span
        kept = None
        if window is not None and window.span is not None:
            length, num_behind = self._kept.length(window.name), len(sequence.ids) - end
            kept = Kept(length, start, length - num_behind)
        shift, mask_id = self._model.config.prediction_shift, self._model.config.special.mask
        rows = [max(position - shift, 0) - start for position in sequence.wanted]
        rows += range(end - start, end - start + len(sequence.revisable))
        ids = [*sequence.ids[start:end], *[mask_id] * len(sequence.revisable)]
        part = Part(ids, [*range(start, end), *sequence.revisable], rows, sequence.revisable, kept)
        assert self._may_move or not part.shift, "tokens move in families whose length can change, and in no others"
        return _Entry(index, sequence, part)

    def _run(self, group: Sequence[_Entry]) -> PassOutput:
        """Keeps nothing yet: other parts of the pass may fail."""
        parts = [entry.part for entry in group]
        windows = [entry.sequence.window for entry in group]
        graph, stack = self._whole, []
        if parts[0].kept is not None:
            graph, stack = self._window, self._kept.together([window.name for window in windows if window is not None])
        num_kept = stack[0].shape[2] if stack else 0
        arrays = arrays_of(parts, self._heads, self._num_threads, num_kept)
        arrays |= zip(self._kept_names, stack, strict=False)
        if stack and self._may_move:
            arrays["kept_positions"] = kept_positions(parts, num_kept)
        # The library wants no fewer angles than tokens, whatever their positions.
        num_tokens = sum(part.num_queries for part in parts) + ROW_QUANTUM
        arrays |= self._table(max(num_tokens, num_kept, *(part.num_keys for part in parts)))
        keeps = any(window is not None and (window.span is None or window.renews) for window in windows)
        return graph.run(arrays, keeps)

    def _keep(self, group: Sequence[_Entry], fresh: Stack) -> None:
        windows = [entry.sequence.window for entry in group]
        if group[0].part.kept is None:
            names = [None if window is None else window.name for window in windows]
            self._kept.keep(names, [entry.part.num_queries for entry in group], fresh)
            return
        for lane, (entry, window) in enumerate(zip(group, windows, strict=True)):
            if window is not None and window.renews:
                new = [array[lane, :, : entry.part.num_queries] for array in fresh]
                self._kept.renew(window.name, entry.sequence.span[0], new)

    def _table(self, num_positions: int) -> Arrays:
        """Angles of at least so many positions: cos and sin, [P, D / 2] each."""
        if not self._angles or len(self._angles["cos"]) < num_positions:
            half = self._model.config.head_dim // 2
            cos, sin = self._model.rotary.angles(torch.arange(2 * num_positions))
            self._angles = {"cos": cos[:, 0, :half].numpy().copy(), "sin": sin[:, 0, half:].numpy().copy()}
        return self._angles


def _rows_of(group: Sequence[_Entry], output: PassOutput) -> Tensor:
    """The wanted rows, without what they were filled up with."""
    return torch.from_numpy(output.logits[: sum(len(entry.part.rows) for entry in group)])


def _groups(entries: Sequence[_Entry], most_scores: int) -> list[list[_Entry]]:
    """Those of a kind; then as many of similar size as waste little on what they are filled up with."""
    groups: list[list[_Entry]] = []
    own = 0
    for entry in sorted(entries, key=lambda entry: entry.size):
        num_scores = entry.part.num_queries * entry.part.num_keys
        group = [*groups[-1], entry] if groups and groups[-1][0].kind == entry.kind else []
        filled = len(group) * max((entry.part.num_queries for entry in group), default=0) * entry.part.num_keys
        own += num_scores
        if group and filled <= min(own + own // 8 + _SPARE_SCORES, most_scores):
            groups[-1] = group
        else:
            groups.append([entry])
            own = num_scores
    return [sorted(group, key=lambda entry: entry.index) for group in groups]
