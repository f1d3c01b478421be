"""The bytes of a tokenizer's tokens, as a tree of prefixes in arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Level:
    """The prefixes of one length.

    parents  [prefixes]  the prefix without its last byte, as a row of the level before
    last     [prefixes]  the last byte
    tokens   [tokens]    ids of the tokens that end here
    ends     [tokens]    the prefix that each of them is
    """

    parents: Integers
    last: NDArray[np.uint8]
    tokens: Integers
    ends: Integers


class Vocabulary:
    """The bytes of each token id; None or no bytes for an id that never stands in constrained text."""

    def __init__(self, tokens: Sequence[bytes | None]) -> None:
        texts = [token or b"" for token in tokens]
        self.size = len(texts)
        self.levels = tuple(_levels(texts))
        self.fingerprint = _fingerprint(texts)
        """A name of the content: equal for equal vocabularies."""

    @property
    def nbytes(self) -> int:
        """The size of the arrays in bytes."""
        arrays = ((level.parents, level.last, level.tokens, level.ends) for level in self.levels)
        return sum(array.nbytes for four in arrays for array in four)


def _fingerprint(texts: list[bytes]) -> bytes:
    lengths = np.array([len(text) for text in texts], np.int64)
    return sha256(lengths.tobytes() + b"".join(texts)).digest()


def _levels(texts: list[bytes]) -> Iterator[Level]:
    """The prefixes of length 1, of length 2, and so on."""
    flat = np.frombuffer(b"".join(texts), np.uint8)
    lengths = np.array([len(text) for text in texts], np.int64)
    starts = np.cumsum(lengths) - lengths
    ids = np.flatnonzero(lengths)
    prefix = np.zeros(len(ids), np.int64)
    depth = 0
    while len(ids):
        keys, prefix = np.unique(prefix * 256 + flat[starts[ids] + depth], return_inverse=True)
        depth += 1
        over = lengths[ids] == depth
        parents, last = np.divmod(keys, 256)
        yield Level(
            parents.astype(np.int32), last.astype(np.uint8), ids[over].astype(np.int32), prefix[over].astype(np.int32)
        )
        ids, prefix = ids[~over], prefix[~over]
