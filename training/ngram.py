"""A Witten-Bell model over bytes: a baseline that only counts, and a judge of text that needs no network.

Interpolated Witten-Bell smoothing (Witten and Bell 1991; Chen and Goodman 1998, section 2.3): with c(h) occurrences
of a context h and t(h) different bytes seen after it,

    p(b | h) = (c(hb) + t(h) · p(b | h without its oldest byte)) / (c(h) + t(h))

down to the empty context, below which every byte has probability 1/256.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_ORDER = 7
"""Context and predicted byte are packed into one 64-bit number."""

Packed = np.ndarray[Any, np.dtype[np.uint64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class _Table:
    """The counts for one context length; keys are sorted, and the predicted byte is the lowest one of a gram."""

    grams: Packed
    gram_counts: Counts
    contexts: Packed
    context_counts: Counts
    num_followers: Counts


class ByteNgram:
    """The model with contexts of `order` bytes; each document begins in a context of zero bytes, which are not counted.

    Raises:
        ValueError: the order is larger than 7 or negative, or there is no byte to count.
    """

    def __init__(self, documents: Iterable[bytes], order: int = 5) -> None:
        if not 0 <= order <= MAX_ORDER:
            raise ValueError(f"the order is {order}; it must lie between 0 and {MAX_ORDER}")
        self.order = order
        packed = self._pack_all(list(documents))
        if not len(packed):
            raise ValueError("there is no text to count")
        self._tables = [_count(_lowest_bytes(packed, length + 1)) for length in range(order + 1)]

    def bits(self, document: bytes) -> Floats:
        """The cost of each byte of a document in bits, [len(document)]."""
        return -np.log2(self._probabilities(self._pack_all([document])))

    def probabilities(self, context: bytes) -> Floats:
        """The probabilities p(b | context) of all 256 byte values b; only the last `order` bytes of context count."""
        following = (context + bytes([value]) for value in range(256))
        return self._probabilities(np.array([int.from_bytes(gram[-self.order - 1 :]) for gram in following], np.uint64))

    def _pack_all(self, documents: list[bytes]) -> Packed:
        """Each byte with the `order` bytes before it, the older the higher. Only bytes of documents are predicted."""
        padding = bytes(self.order)
        stream = np.frombuffer(b"".join(padding + document for document in documents), np.uint8)
        packed: Packed = stream.astype(np.uint64)
        for age in range(1, self.order + 1):
            packed[age:] |= stream[:-age].astype(np.uint64) << np.uint64(8 * age)
        lengths = [part for document in documents for part in (self.order, len(document))]
        predicted: Packed = packed[np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)]
        return predicted

    def _probabilities(self, packed: Packed) -> Floats:
        result = np.full(len(packed), 1 / 256)
        for length, table in enumerate(self._tables):
            grams = _lowest_bytes(packed, length + 1)
            context = _find(table.contexts, grams >> np.uint64(8))
            count = _looked_up(table.context_counts, context)
            followers = _looked_up(table.num_followers, context)
            seen = _looked_up(table.gram_counts, _find(table.grams, grams))
            is_known = context >= 0
            mixed = (seen + followers * result) / np.maximum(count + followers, 1)
            result = np.where(is_known, mixed, result)
        return result


def _lowest_bytes(packed: Packed, count: int) -> Packed:
    return packed & np.uint64(256**count - 1)


def _count(grams: Packed) -> _Table:
    different, counts = np.unique(grams, return_counts=True)
    contexts, starts = np.unique(different >> np.uint64(8), return_index=True)
    followers = np.diff(np.append(starts, len(different)))
    return _Table(different, counts, contexts, np.add.reduceat(counts, starts), followers)


def _find(keys: Packed, wanted: Packed) -> Counts:
    """The index of each wanted key; -1 if it is missing."""
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[index] == wanted, index, -1)


def _looked_up(counts: Counts, index: Counts) -> Counts:
    return np.where(index >= 0, counts[index], 0)
