"""The layout of a pass of the graphs (`passes/graphs.py`): index arrays and masks.

Tokens of all sequences lie end to end for the matrix products; attention wants a block of equal size for each sequence.
Index arrays lead from one to the other and back, so that neither copies more than once. Queries of long sequences are
cut into chunks, which threads can share.

    N tokens of a pass · R wanted rows · B sequences · H heads, K of keys and values · C = H · chunks
    L queries of a chunk · T slots for keys that the pass computes · S slots for cached keys · P positions

Blocks are filled up, and what they are filled with is masked: it adds zeros to a sequence's sums, behind its own terms,
and changes no bit of them. Sequences of 3 and 2 tokens, one head, one chunk:

    ids            a0 a1 a2 b0 b1 a0 a0 a0         N = 8, a multiple of 4: filled up with the first token
    query_rows     [0 1 2 0]  [3 4 0 0]            [B, C, L], 4 queries at least; what fills them up is not read
    key_rows       [0 1 2]    [3 4 3]              [B, K, T], filled up with the sequence's own first token
    mask           [0 0 0]    [0 0 -inf]           of each query of a, and of each of b
    attended_rows  0 1 2 4 5 0 0 0                 [N, H]: b0's result stands in row 4 of the two blocks of 4
    rows           2 4 0 0                         R = 4, where the last token of each is wanted

With more heads each token has a row for each of them: token i and head h stand in row i · H + h.

A span sees its own keys first and then the cached ones. Three tokens at [2, 5) of a sequence of which 6 were cached
when there were two of them, so that what is behind has moved by 1; T = 16, S = 6:

    slot        0 1 2 3 … 15 | 0 1 2 3 4 5         3 … 15 are filled up, 2 and 3 of the cached ones are computed anew
    position    2 3 4        | 0 1     5 6
    seen        x x x        | x x     x x

What fills a span up may depend on nothing but itself. So only spans with the same number of slots share a pass.
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
"""Queries from which on another chunk is worth while."""
_SPAN_QUANTUM = 16
"""Spans are filled up to a multiple of this, large ones of more."""
_MAX_LAYOUTS = 64
"""Cached of each kind: the next step is mostly one of the same sizes, with a token less to choose."""


@dataclass(frozen=True, slots=True)
class CachedKeys:
    """The cached keys that a span finds."""

    length: int
    """Number of tokens that are cached."""
    start: int
    end: int
    """Keys in [start, end) are not read: the span computes new ones."""


@dataclass(frozen=True)
class Part:
    """The part of a pass that belongs to one sequence."""

    ids: Sequence[int]
    """Its tokens in the pass."""
    positions: Sequence[int]
    """The position of each of them in its sequence."""
    rows: Sequence[int]
    """Indices of the tokens whose logits are wanted."""
    revisable: Sequence[int] = ()
    """Positions whose token is looked at again. The last tokens of the pass, one for each, stand beside the sequence:
    each sees the sequence without the token at its position, and itself; no other sees it."""
    cached: CachedKeys | None = None
    """The keys that are read from the cache; `None`: the whole sequence is computed."""
    block_length: int | None = None
    """Positions of a block, where a token of the pass sees those of its own block and of blocks before it; `None`: it
    sees all of them."""

    @cached_property
    def num_queries(self) -> int:
        """Tokens in the pass."""
        return len(self.ids)

    @cached_property
    def num_slots(self) -> int:
        """Slots for the keys that it computes: a span's are filled up, so that spans of about a size share a pass. 3
        tokens take 16 slots, 100 take 112 and 300 (a 9-bit number, so a multiple of 64) take 320."""
        if self.cached is None:
            return self.num_queries
        quantum = max(_SPAN_QUANTUM, 1 << max(self.num_queries.bit_length() - 3, 0))
        return -(-self.num_queries // quantum) * quantum

    @property
    def shift(self) -> int:
        """Number of positions by which the tokens behind a span have moved since their keys were cached."""
        if self.cached is None or self.cached.end == self.cached.length:
            return 0
        return self.num_queries - (self.cached.end - self.cached.start)

    @cached_property
    def blocks(self) -> Indices | None:
        """The block of each token, [n]; `None` where every token sees every other: the pass has a single block, too."""
        if self.block_length is None:
            return None
        blocks = np.array(self.positions, np.int64) // self.block_length
        return None if blocks[0] == blocks[-1] else blocks

    @cached_property
    def num_keys(self) -> int:
        """Slots for all keys that it sees."""
        return self.num_slots + (0 if self.cached is None else self.cached.length)


@dataclass(frozen=True, slots=True)
class Heads:
    """Numbers of heads of a layer; each head of keys serves an equal share of the heads of queries."""

    queries: int
    keys: int


def arrays_of(parts: Sequence[Part], heads: Heads, num_threads: int, num_cached: int = 0) -> Arrays:
    """All that a graph is given, but for cached keys, their positions, and the table of angles.

    Args:
        parts: spans with the same number of slots, or whole sequences.
        num_cached: slots for cached keys.
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
    num_slots = max(part.num_slots for part in parts)
    arrays["key_rows"] = _key_rows(lengths, num_slots, heads.keys)
    arrays["key_positions"] = packed[arrays["key_rows"][:, 0] // heads.keys]
    # A mask has a row for each query of a chunk: where they differ, there can be one chunk only.
    max_threads = 1 if any(part.revisable or part.blocks is not None for part in parts) else num_threads
    for prefix, asking, filling in (("", lengths, num_filling), ("last_", counts, num_filling_rows)):
        queries = _queries(asking, filling, heads.queries, max_threads)
        tokens = [range(length) for length in lengths] if not prefix else [part.rows for part in parts]
        arrays[f"{prefix}query_rows"], arrays[f"{prefix}attended_rows"] = queries
        arrays[f"{prefix}mask"] = _mask(parts, tokens, queries[0].shape[-1], num_cached)
    return arrays


def cached_positions(parts: Sequence[Part], num_cached: int) -> Indices:
    """[B, S]: where the cached keys stand by now."""
    positions = np.tile(np.arange(num_cached), (len(parts), 1))
    for number, part in enumerate(parts):
        if part.cached is not None:
            positions[number, part.cached.end : part.cached.length] += part.shift
    return positions


@lru_cache(maxsize=_MAX_LAYOUTS)
def _queries(counts: tuple[int, ...], num_filling: int, num_heads: int, num_threads: int) -> tuple[Indices, Indices]:
    """`query_rows` [B, C, L] and `attended_rows` [N, H], where `counts[i]` tokens of sequence i ask."""
    max_count = max(counts)
    num_chunks = max(1, min(num_threads, max_count // MIN_CHUNK))
    length = max(ROW_QUANTUM, -(-max_count // num_chunks))
    block = num_chunks * length
    rows = np.zeros((len(counts), block), np.int64)
    attended = np.zeros(sum(counts) + num_filling, np.int64)
    start = 0
    for number, count in enumerate(counts):
        rows[number, :count] = np.arange(start, start + count)
        attended[start : start + count] = number * num_heads * block + np.arange(count)
        start += count
    attended[start:] = attended[0]
    each_head = np.arange(num_heads)
    by_head = rows.reshape(-1, 1, num_chunks, length) * num_heads + each_head[:, None, None]
    return by_head.reshape(-1, num_heads * num_chunks, length), attended[:, None] + each_head * block


def _mask(parts: Sequence[Part], tokens: Sequence[Sequence[int]], length: int, num_cached: int) -> Floats:
    """`mask` [B, 1, L, T + S]: 0 where a query sees a key, and minus infinity where it does not."""
    num_slots = max(part.num_slots for part in parts)
    mask = np.zeros((len(parts), 1, length, num_slots + num_cached), np.float32)
    for number, part in enumerate(parts):
        num_own = part.num_queries - len(part.revisable)
        mask[number, 0, :, num_own:num_slots] = -np.inf
        if part.cached is not None:
            mask[number, 0, :, num_slots + part.cached.start : num_slots + part.cached.end] = -np.inf
            mask[number, 0, :, num_slots + part.cached.length :] = -np.inf
        if part.blocks is not None:
            asking = part.blocks[list(tokens[number])]
            mask[number, 0, : len(asking), :num_own][asking[:, None] < part.blocks] = -np.inf
        for row, token in enumerate(tokens[number] if part.revisable else ()):
            if token >= num_own:
                mask[number, 0, row, token] = 0.0
                mask[number, 0, row, part.revisable[token - num_own]] = -np.inf
    return mask


@lru_cache(maxsize=_MAX_LAYOUTS)
def _key_rows(lengths: tuple[int, ...], num_slots: int, num_heads: int) -> Indices:
    """`key_rows` [B, K, T]. Filled up with the sequence's own first token, so that no sequence ever touches
    another's."""
    starts = np.cumsum((0, *lengths[:-1]))
    rows = np.repeat(starts[:, None], num_slots, axis=1)
    for number, length in enumerate(lengths):
        rows[number, :length] += np.arange(length)
    by_head: Indices = rows[:, None, :] * num_heads + np.arange(num_heads)[:, None]
    return by_head
