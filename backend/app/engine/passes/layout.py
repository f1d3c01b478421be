"""Where everything stands in a pass of the graphs (`models/graphs.py`), and what is kept for the next.

Tokens of all sequences lie end to end for the matrix products; attention wants a block of equal size for each sequence.
Index arrays lead from one to the other and back, so that neither copies more than once. Queries of long sequences are
cut into chunks, which threads can share.

    N tokens of a pass · R wanted rows · B sequences · H heads, K of keys and values · C = H · chunks
    L queries of a chunk · T keys that the pass computes, of the longest sequence · S kept keys, of the longest sequence
    P positions

Blocks are filled up, and what they are filled with is masked: it adds zeros to a sequence's sums, behind its own terms,
and changes no bit of them. Windows see their own keys first and then the kept ones; so what fills their own up may
depend on nothing but themselves, and only windows that fill the same number of places share a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
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
_WINDOW_QUANTUM = 16
"""Windows are filled up to a multiple of this, large ones of more."""
_MAX_LAYOUTS = 64
"""Kept of each kind: the next step is mostly one of the same sizes, with a token less to choose."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The keys that a window finds."""

    length: int
    start: int
    end: int
    """Of those in [start, end) the window computes new ones."""


@dataclass(frozen=True)
class Part:
    """What one sequence brings to a pass."""

    ids: Sequence[int]
    """Its tokens in the pass."""
    positions: Sequence[int]
    rows: Sequence[int]
    """Which of its tokens are wanted."""
    revisable: Sequence[int] = ()
    """As many of its last tokens stand beside the sequence: each sees it, without the token here, and itself."""
    kept: Kept | None = None
    """Of a window."""

    @cached_property
    def num_queries(self) -> int:
        return len(self.ids)

    @cached_property
    def num_places(self) -> int:
        """For the keys that it computes."""
        if self.kept is None:
            return self.num_queries
        quantum = max(_WINDOW_QUANTUM, 1 << max(self.num_queries.bit_length() - 3, 0))
        return -(-self.num_queries // quantum) * quantum

    @property
    def shift(self) -> int:
        """How far the tokens behind a window have moved since their keys were kept."""
        return 0 if self.kept is None else self.num_queries - (self.kept.end - self.kept.start)

    @cached_property
    def num_keys(self) -> int:
        return self.num_places + (0 if self.kept is None else self.kept.length)


@dataclass(frozen=True, slots=True)
class Heads:
    """How many a layer has; those of queries share those of keys evenly."""

    queries: int
    keys: int


def arrays_of(parts: Sequence[Part], heads: Heads, num_threads: int, num_kept: int = 0) -> Arrays:
    """What a graph is given, but for kept keys, their positions, and the table of angles.

    Args:
        parts: windows with the same number of places, or none of them a window.
        num_kept: places for kept keys.
    """
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
    num_places = max(part.num_places for part in parts)
    arrays["key_rows"] = _key_rows(lengths, num_places, heads.keys)
    arrays["key_positions"] = packed[arrays["key_rows"][:, 0] // heads.keys]
    most_threads = 1 if any(part.revisable for part in parts) else num_threads
    for prefix, asking, filling in (("", lengths, num_filling), ("last_", counts, num_filling_rows)):
        queries = _queries(asking, filling, heads.queries, most_threads)
        tokens = [range(length) for length in lengths] if not prefix else [part.rows for part in parts]
        arrays[f"{prefix}query_rows"], arrays[f"{prefix}places"] = queries
        arrays[f"{prefix}mask"] = _mask(parts, tokens, queries[0].shape[-1], num_kept)
    return arrays


def kept_positions(parts: Sequence[Part], num_kept: int) -> Indices:
    """[B, S]: where the kept keys of windows stand by now."""
    positions = np.tile(np.arange(num_kept), (len(parts), 1))
    for number, part in enumerate(parts):
        if part.kept is not None:
            positions[number, part.kept.end : part.kept.length] += part.shift
    return positions


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


def _mask(parts: Sequence[Part], tokens: Sequence[Sequence[int]], length: int, num_kept: int) -> Floats:
    """[B, 1, L, T + S]: 0 where a query sees a key, and minus infinity where it does not."""
    num_places = max(part.num_places for part in parts)
    mask = np.zeros((len(parts), 1, length, num_places + num_kept), np.float32)
    for number, part in enumerate(parts):
        num_own = part.num_queries - len(part.revisable)
        mask[number, 0, :, num_own:num_places] = -np.inf
        if part.kept is not None:
            mask[number, 0, :, num_places + part.kept.start : num_places + part.kept.end] = -np.inf
            mask[number, 0, :, num_places + part.kept.length :] = -np.inf
        for row, token in enumerate(tokens[number] if part.revisable else ()):
            if token >= num_own:
                mask[number, 0, row, token] = 0.0
                mask[number, 0, row, part.revisable[token - num_own]] = -np.inf
    return mask


@lru_cache(maxsize=_MAX_LAYOUTS)
def _key_rows(lengths: tuple[int, ...], num_places: int, num_heads: int) -> Indices:
    """[B, K, T]. Filled up with the sequence's own first token, so that no sequence ever touches another's."""
    starts = np.cumsum((0, *lengths[:-1]))
    rows = np.repeat(starts[:, None], num_places, axis=1)
    for number, length in enumerate(lengths):
        rows[number, :length] += np.arange(length)
    by_head: Indices = rows[:, None, :] * num_heads + np.arange(num_heads)[:, None]
    return by_head
