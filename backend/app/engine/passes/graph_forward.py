"""Forward passes of small models on a CPU, as graphs: what goes together, and what modules do better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from app.engine.cache.growing import GrowingKeyValues
from app.engine.cache.lanes import CachedLanes, Stack
from app.engine.cache.store import KeyValues
from app.engine.device.memory import free_caches
from app.engine.models.base import FamilyModel
from app.engine.models.layers import Rotary
from app.engine.passes.graphs import PassGraph, PassOutput, cached_names, caches_unrotated
from app.engine.passes.layout import ROW_QUANTUM, Arrays, CachedKeys, Heads, Part, arrays_of, cached_positions
from app.engine.passes.module_forward import Cached, ModuleForward
from app.engine.passes.work import SequenceInput

MAX_SCORE_BYTES = 32 * 1024**2
"""Graphs hold all attention scores of a layer; a sequence that has more of them goes through the modules."""
_SPARE_SCORES = 8192
"""Scores more than their own that sequences may cost each other: with so few, a pass for one of them alone costs
more."""


@dataclass(frozen=True)
class _Entry:
    """A sequence of the pass, and which one it is."""

    index: int
    sequence: SequenceInput
    part: Part

    @cached_property
    def kind(self) -> int:
        """The kind, as only sequences of a kind share a pass: whole ones (0), or spans by their number of slots."""
        return 0 if self.part.cached is None else self.part.num_slots

    @cached_property
    def size(self) -> tuple[int, int, int]:
        """The order of sequences, in which those of similar size are neighbours."""
        return self.kind, self.part.num_keys, self.part.num_queries

    @property
    def stores(self) -> bool:
        """Whether its fresh keys and values are to be cached."""
        return self.num_stored > 0

    @property
    def num_stored(self) -> int:
        """Tokens of the pass, from its first on, whose keys and values are to be cached."""
        start, end = self.sequence.bounds
        if self.sequence.cache_name is None:
            return 0
        if self.sequence.span.cached_to is not None:
            return self.sequence.span.cached_to - start
        return end - start if self.part.cached is None or self.sequence.span.stores else 0


class GraphForward:
    """Sequences of similar sizes share a pass. What a sequence gets does not depend on which ones do.

    There are two graphs. The one for spans is built when a span is first computed: many a model is asked for whole
    canvases only, and need not hold a second copy of its weights.

    Raises:
        MemoryError: there is no room for a graph.
        GraphError: it cannot be built for another reason.
    """

    def __init__(self, model: FamilyModel) -> None:
        config, num_layers = model.config, len(model.stack().layers)
        self._model = model
        self._heads = Heads(config.num_heads, config.num_kv_heads)
        self._num_threads = torch.get_num_threads()
        self._graphs: dict[bool, PassGraph] = {}
        self._graph(reads_cache=False)
        self._cache_inputs = cached_names(num_layers)
        self._may_move = caches_unrotated(model)
        self._lanes = CachedLanes()
        self._modules = ModuleForward(model)
        self._angles: Arrays = {}

    @property
    def num_graphs(self) -> int:
        """The graphs that there are by now, each with a copy of the weights."""
        return len(self._graphs)

    def logits(self, sequences: Sequence[SequenceInput]) -> Tensor:
        """See `Forward.logits`."""
        for sequence in sequences:
            if sequence.cache_name is not None and sequence.is_whole:
                self.forget(sequence.cache_name)  # of no use from here on, whether modules or graphs have cached it
            if sequence.adapter is not None:
                self._leave_lane(sequence.cache_name)
        for_modules = [index for index, sequence in enumerate(sequences) if self._is_for_modules(sequence)]
        entries = [self._entry(*each) for each in enumerate(sequences) if each[0] not in for_modules]
        groups = _groups(entries, MAX_SCORE_BYTES // (4 * self._heads.queries))
        outputs = [self._run(group) for group in groups]
        runs = [_rows_of(group, output) for group, output in zip(groups, outputs, strict=True)]
        if for_modules:
            runs.insert(0, self._modules.logits([sequences[index] for index in for_modules]))
        for group, output in zip(groups, outputs, strict=True):  # now that nothing can fail
            if output.fresh:
                self._store(group, output.fresh)
        if len(runs) == 1 and not for_modules:
            return runs[0]
        indices = [*for_modules, *(entry.index for group in groups for entry in group)]
        parts = torch.split(torch.cat(runs), [sequences[index].num_rows for index in indices])
        return torch.cat([parts[indices.index(index)] for index in range(len(sequences))])

    def forget(self, name: str) -> None:
        """See `Forward.forget`."""
        self._lanes.drop(name)
        self._modules.forget(name)

    def cached(self, name: str) -> Cached | None:
        """See `Forward.cached`."""
        if name not in self._lanes:
            return self._modules.cached(name)
        lane = [torch.from_numpy(array).transpose(0, 1) for array in self._lanes.read(name)]
        if self._model.config.block_length is not None:
            return GrowingKeyValues.of(zip(lane[::2], lane[1::2], strict=True), torch.device("cpu"), torch.float32)
        cos, sin = self._model.rotary.angles(torch.arange(self._lanes.length(name)))
        cached = KeyValues()
        for keys, values in zip(lane[::2], lane[1::2], strict=True):
            if self._may_move:
                cached.fill(keys, Rotary.rotate(keys, cos, sin), values)
            else:
                cached.fill(Rotary.rotate(keys, cos, -sin), keys, values)
        return cached

    def adopt(self, name: str, cached: Cached) -> None:
        """See `Forward.adopt`. Spans of a sequence that is too long for graphs go on by modules."""
        if self._has_too_many_scores(len(cached)):
            self._modules.adopt(name, cached)
            return
        stack: Stack = []
        for *before, rotated, values in cached.layers():
            for x in (before[0] if self._may_move else rotated, values):
                stack.append(x.to("cpu", torch.float32).transpose(0, 1)[None].numpy().copy())
        self._lanes.store([name], [len(cached)], stack)

    def cached_names(self) -> set[str]:
        """See `Forward.cached_names`."""
        by_graphs, by_modules = self._lanes.checked_names(), self._modules.cached_names()
        assert not by_graphs & by_modules, f"{by_graphs & by_modules} are cached twice"
        return by_graphs | by_modules

    def _leave_lane(self, name: str | None) -> None:
        """Has the modules cache what came from another device before anybody knew that its sequence has an adapter."""
        if name is None or name not in self._lanes:
            return
        cached = self.cached(name)
        if cached is not None:
            self._modules.adopt(name, cached)
            self._lanes.drop(name)

    def _is_for_modules(self, sequence: SequenceInput) -> bool:
        """Decided by itself alone, and so the same in any batch. Graphs have no adapters; a span goes where its cached
        keys are, and otherwise size decides."""
        if sequence.adapter is not None:
            return True
        name = sequence.cache_name
        if name is not None and not sequence.is_whole:
            if name in self._lanes:
                return False
            if name in self._modules:
                return True
        return self._has_too_many_scores(len(sequence.ids) + len(sequence.revisable))

    def _has_too_many_scores(self, num_tokens: int) -> bool:
        return 4 * self._heads.queries * num_tokens**2 > MAX_SCORE_BYTES

    def _entry(self, index: int, sequence: SequenceInput) -> _Entry:
        """The sequence as its part of a pass; the whole of it where nothing is cached: it has come from another device,
        say."""
        cached = self._cached_keys(sequence)
        if cached is None:
            sequence = sequence.whole
        start, end = sequence.bounds
        shift, mask_id = self._model.config.prediction_shift, self._model.config.special.mask
        rows = [max(position - shift, 0) - start for position in sequence.wanted]
        rows += range(end - start, end - start + len(sequence.revisable))
        ids = [*sequence.ids[start:end], *[mask_id] * len(sequence.revisable)]
        positions = [*range(start, end), *sequence.revisable]
        block_length = sequence.block_length or self._model.config.block_length
        part = Part(ids, positions, rows, sequence.revisable, cached, block_length)
        assert self._may_move or not part.shift, "tokens move in families whose length can change, and in no others"
        return _Entry(index, sequence, part)

    def _cached_keys(self, sequence: SequenceInput) -> CachedKeys | None:
        """The keys that the span of a sequence finds in the cache. Of 10 cached tokens of a sequence that has 12 by
        now, a span [4, 9) finds all but [4, 7): 3 tokens are behind it, as many as there were."""
        name = sequence.cache_name
        if name is None or sequence.is_whole or name not in self._lanes:
            return None
        length = self._lanes.length(name)
        if sequence.span.cached_to is not None and length < sequence.bounds[0]:
            return None
        return CachedKeys(length, sequence.bounds[0], length - sequence.num_behind)

    def _run(self, group: Sequence[_Entry]) -> PassOutput:
        """Caches nothing yet, for other parts of the pass may fail."""
        parts, stack = [entry.part for entry in group], []
        graph = self._graph(reads_cache=parts[0].cached is not None)
        if parts[0].cached is not None:
            stack = self._lanes.gather([entry.sequence.cache_name or "" for entry in group])
        num_cached = stack[0].shape[2] if stack else 0
        arrays = arrays_of(parts, self._heads, self._num_threads, num_cached)
        arrays |= zip(self._cache_inputs, stack, strict=False)
        if stack and self._may_move:
            arrays["cached_positions"] = cached_positions(parts, num_cached)
        # The library wants no fewer angles than tokens, whatever their positions.
        num_tokens = sum(part.num_queries for part in parts) + ROW_QUANTUM
        arrays |= self._table(max(num_tokens, num_cached, *(part.num_keys for part in parts)))
        return graph.run(arrays, any(entry.stores for entry in group))

    def _graph(self, *, reads_cache: bool) -> PassGraph:
        if reads_cache not in self._graphs:
            self._graphs[reads_cache] = PassGraph(self._model, reads_cache=reads_cache)
            free_caches("cpu")  # building a graph takes memory that the allocator would keep
        return self._graphs[reads_cache]

    def _store(self, group: Sequence[_Entry], fresh: Stack) -> None:
        if group[0].part.cached is None:
            names = [entry.sequence.cache_name if entry.stores else None for entry in group]
            self._lanes.store(names, [entry.num_stored for entry in group], fresh)
            return
        for lane, entry in enumerate(group):
            if entry.stores:
                new = [array[lane, :, : entry.num_stored] for array in fresh]
                put = self._lanes.refresh if entry.sequence.span.cached_to is None else self._lanes.extend
                put(entry.sequence.cache_name or "", entry.sequence.bounds[0], new)

    def _table(self, num_positions: int) -> Arrays:
        """Angles of at least `num_positions`: cos and sin, [P, D / 2] each."""
        if not self._angles or len(self._angles["cos"]) < num_positions:
            half = self._model.config.head_dim // 2
            cos, sin = self._model.rotary.angles(torch.arange(2 * num_positions))
            self._angles = {"cos": cos[:, 0, :half].numpy().copy(), "sin": sin[:, 0, half:].numpy().copy()}
        return self._angles


def _rows_of(group: Sequence[_Entry], output: PassOutput) -> Tensor:
    """The wanted rows, without what they were filled up with."""
    return torch.from_numpy(output.logits[: sum(len(entry.part.rows) for entry in group)])


def _groups(entries: Sequence[_Entry], max_scores: int) -> list[list[_Entry]]:
    """Entries that share a pass: of one kind, and of sizes so similar that filling them up wastes little.

    A pass has as many scores for each of its sequences as its longest queries times its longest keys. Whole sequences
    of 10, 12 and 60 tokens have 100 + 144 + 3600 of their own, and 3 · 60 · 60 = 10800 together: less than the 3844, an
    eighth more, and `_SPARE_SCORES` (12516), so they share one. Two of 10 and 100 tokens do not: 20000 are more than
    19554."""
    groups: list[list[_Entry]] = []
    own = 0
    for entry in sorted(entries, key=lambda entry: entry.size):
        num_scores = entry.part.num_queries * entry.part.num_keys
        group = [*groups[-1], entry] if groups and groups[-1][0].kind == entry.kind else []
        filled = len(group) * max((entry.part.num_queries for entry in group), default=0) * entry.part.num_keys
        own += num_scores
        if group and filled <= min(own + own // 8 + _SPARE_SCORES, max_scores):
            groups[-1] = group
        else:
            groups.append([entry])
            own = num_scores
    return [sorted(group, key=lambda entry: entry.index) for group in groups]
