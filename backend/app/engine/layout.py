"""Where everything stands in a pass of the graphs (`models/graphs.py`), and what is kept for the next.

Tokens of all sequences lie end to end for the matrix products; attention wants a block of equal size for each sequence.
Index arrays lead from one to the other and back, so that neither copies more than once. Queries of long sequences are
cut into chunks, which threads can share.

    N tokens of a pass · R wanted rows · B sequences · H heads, K of keys and values · C = H · chunks
    L queries of a chunk · T keys of the longest sequence · S = K · places for kept keys · P positions

Blocks are filled up, and what they are filled with is masked: it adds zeros to a sequence's sums, behind its own terms,
and changes no bit of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[np.generic]]

ROW_QUANTUM = 4
"""Rows from which on a row's result does not depend on how many there are."""
MIN_CHUNK = 16
"""Queries for which another chunk is worth while."""
_MAX_LAYOUTS = 64
"""Kept of each kind: the next step is mostly one of the same sizes, with a token less to choose."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one sequence brings to a pass."""

    ids: Sequence[int]
    """Its tokens in the pass."""
    positions: Sequence[int]
    rows: Sequence[int]
    """Which of its tokens are wanted."""
    doubted: Sequence[int] = ()
    """As many of its last tokens stand beside the sequence: each sees it, without the token here, and itself."""
    slots: Indices | None = None
    """Of a window: where the keys of all of the sequence are kept."""
    start: int = 0
    """Of a window: its first place in the sequence."""

    @property
    def num_queries(self) -> int:
        return len(self.ids)

    @property
    def num_keys(self) -> int:
        return len(self.ids) if self.slots is None else len(self.slots)


@dataclass(frozen=True, slots=True)
class Heads:
    """How many a layer has; those of queries share those of keys evenly."""

    queries: int
    keys: int


def arrays_of(parts: Sequence[Part], heads: Heads, num_threads: int) -> Arrays:
    """What a graph is given, but for kept keys and the table of angles. Either all parts are windows or none is."""
    lengths, counts = tuple(part.num_queries for part in parts), tuple(len(part.rows) for part in parts)
    starts = list(accumulate(lengths, initial=0))
    num_filling = -starts[-1] % ROW_QUANTUM
    num_filling_rows = -sum(counts) % ROW_QUANTUM if any(counts) else ROW_QUANTUM
    ids = [token_id for part in parts for token_id in part.ids]
    positions = [position for part in parts for position in part.positions]
    rows = [start + row for part, start in zip(parts, starts, strict=False) for row in part.rows]
    # Filling is the first token once more, which gives what that one gives.
    packed = np.array(positions + positions[:1] * num_filling, np.int64)
    wanted = np.array(rows + [0] * num_filling_rows, np.int64)
    arrays: Arrays = {
        "ids": np.array(ids + ids[:1] * num_filling, np.int64),
        "positions": packed[None],
        "rows": wanted,
        "row_positions": packed[None, wanted],
    }
    most_threads = 1 if any(part.doubted for part in parts) else num_threads
    for prefix, asking, filling in (("", lengths, num_filling), ("last_", counts, num_filling_rows)):
        queries = _queries(asking, filling, heads.queries, most_threads)
        tokens = [range(length) for length in lengths] if not prefix else [part.rows for part in parts]
        arrays[f"{prefix}query_rows"], arrays[f"{prefix}places"] = queries
        arrays[f"{prefix}mask"] = _mask(parts, tokens, queries[0].shape[-1])
    if parts[0].slots is None:
        return arrays | {"key_rows": _key_rows(lengths, heads.keys)}
    return arrays | _kept(parts, num_filling, heads.keys)


@lru_cache(maxsize=_MAX_LAYOUTS)
def _queries(counts: tuple[int, ...], num_filling: int, num_heads: int, num_threads: int) -> tuple[Indices, Indices]:
    """`query_rows` [B, C, L] and `places` [N, H], where so many tokens of each sequence ask."""
    most = max(counts)
    num_chunks = max(1, min(num_threads, most // MIN_CHUNK))
    length = max(ROW_QUANTUM, -(-most // num_chunks))
    block = num_chunks * length
    rows = np.zeros((len(counts), block), np.int64)
    places = np.zeros(sum(counts) + num_filling, np.int64)
    start = 0
    for number, count in enumerate(counts):
        rows[number, :count] = np.arange(start, start + count)
        places[start : start + count] = number * num_heads * block + np.arange(count)
        start += count
    places[start:] = places[0]
    each_head = np.arange(num_heads)
    by_head = rows.reshape(-1, 1, num_chunks, length) * num_heads + each_head[:, None, None]
    return by_head.reshape(-1, num_heads * num_chunks, length), places[:, None] + each_head * block


def _mask(parts: Sequence[Part], tokens: Sequence[Sequence[int]], length: int) -> Floats:
    """[B, 1, L, T]: 0 where a query sees a key, and minus infinity where it does not."""
    mask = np.zeros((len(parts), 1, length, max(part.num_keys for part in parts)), np.float32)
    for number, part in enumerate(parts):
        num_own = part.num_keys - len(part.doubted)
        mask[number, 0, :, num_own:] = -np.inf
        for row, token in enumerate(tokens[number] if part.doubted else ()):
            if token >= num_own:
                mask[number, 0, row, token] = 0.0
                mask[number, 0, row, part.doubted[token - num_own]] = -np.inf
    return mask


@lru_cache(maxsize=_MAX_LAYOUTS)
def _key_rows(lengths: tuple[int, ...], num_heads: int) -> Indices:
    """Blocks are filled up with the sequence's own first token, so that no sequence ever touches another's."""
    starts = np.cumsum((0, *lengths[:-1]))
    rows = np.repeat(starts[:, None], max(lengths), axis=1)
    for number, length in enumerate(lengths):
        rows[number, :length] += np.arange(length)
    return _by_head(rows, num_heads)


def _kept(parts: Sequence[Part], num_filling: int, num_heads: int) -> Arrays:
    """Of windows: where the kept keys are. Slot 0 is zeros, and belongs to nobody."""
    slots = np.zeros((len(parts), max(part.num_keys for part in parts)), np.int64)
    for number, part in enumerate(parts):
        if part.slots is not None:
            slots[number, : part.num_keys] = part.slots
    spans = tuple((part.start, part.num_queries) for part in parts)
    return {
        "key_rows": _by_head(slots, num_heads),
        "key_positions": np.arange(slots.size).reshape(slots.shape) % slots.shape[1],
        "fresh_places": _fresh_places(spans, num_filling, num_heads),
    }


@lru_cache(maxsize=_MAX_LAYOUTS)
def _fresh_places(spans: tuple[tuple[int, int], ...], num_filling: int, num_heads: int) -> Indices:
    """[N, K, 3]: for each token of the pass its sequence, the head, and where among that sequence's keys it stands."""
    tokens = [(number, start + index) for number, (start, count) in enumerate(spans) for index in range(count)]
    numbers, columns = np.array(tokens + tokens[:1] * num_filling, np.int64).T[:, :, None]
    return np.stack(np.broadcast_arrays(numbers, np.arange(num_heads), columns), axis=-1)


def _by_head(rows: Indices, num_heads: int) -> Indices:
    """[B, T] -> [B, K, T]"""
    by_head: Indices = rows[:, None, :] * num_heads + np.arange(num_heads)[:, None]
    return by_head
