"""Sequences to one packed batch: laid end to end, without a mask and without padding between them.

        ids        [ sequence 0 | sequence 1 | … | filling ]     N, a multiple of the quantum
        rows       where the wanted predictions are read, in that order, R

Two sequences and a quantum of 4. Of the first only [2, 5) is computed and position 4 wanted; position 1 of the second
is wanted and its position 0 looked at again. M is the mask, F the filling; predictions are not shifted:

        tokens     a2 a3 a4 b0 b1 M  F  F
        positions  2  3  4  0  1  0  0  0
        lengths    3        3
        rows       2 (a4), 4 (b1), 5 (M), and 0 to fill up the rows; with a shift of 1: 1, 3, 5

Matrix products give a row the same value, bit for bit, whatever rows stand beside it, as long as there are enough
of them: with very few rows the libraries switch to other kernels. So every batch is filled up to a multiple of a
small quantum. That makes a request's result in float32 on a CPU the same alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from app.engine.models.adapters import AdaptedRows
from app.engine.passes.work import SequenceInput


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The sequences of a pass, laid end to end."""

    ids: list[int]
    """N token ids, filling included."""
    positions: list[int]
    """N positions, each counted within its sequence."""
    lengths: list[int]
    """Tokens of each sequence; the filling belongs to none."""
    rows: list[int]
    """Indices of the rows where the wanted predictions are read, sequence by sequence; filled up to the quantum too."""
    num_rows: int
    """Number of `rows` that were asked for; the others are filling."""


def pack(
    sequences: Sequence[SequenceInput], prediction_shift: int, fill_id: int, mask_id: int, quantum: int
) -> PackedBatch:
    """Lays the computed spans of `sequences` end to end, behind each a mask for every revisable position.

    The prediction for position i is read at row max(i - shift, 0) of its sequence.
    """
    ids: list[int] = []
    positions: list[int] = []
    rows: list[int] = []
    lengths: list[int] = []
    for sequence in sequences:
        start, end = sequence.bounds
        first = len(ids) - start  # the row of position 0, were it in the pass
        rows += [first + max(position - prediction_shift, 0) for position in sequence.wanted]
        ids += [*sequence.ids[start:end], *[mask_id] * len(sequence.revisable)]
        positions += [*range(start, end), *sequence.revisable]
        lengths.append(end - start + len(sequence.revisable))
        rows += range(len(ids) - len(sequence.revisable), len(ids))
    num_filling = -len(ids) % quantum
    ids += [fill_id] * num_filling
    positions += [0] * num_filling
    num_rows = len(rows)
    rows += [0] * (-num_rows % quantum)
    return PackedBatch(ids, positions, lengths, rows, num_rows)


def adapted_rows(sequences: Sequence[SequenceInput], lengths: Sequence[int]) -> list[AdaptedRows]:
    """The rows of the sequences that have an adapter. In the example above, with one for the second sequence: tokens 3
    to 5 of the pass, and of the wanted rows the second and the third.

    Args:
        lengths: as `pack` gives them.
    """
    token_ends = accumulate(lengths)
    wanted_ends = accumulate(sequence.num_rows for sequence in sequences)
    return [
        AdaptedRows(sequence.adapter, range(end - length, end), range(wanted_end - sequence.num_rows, wanted_end))
        for sequence, length, end, wanted_end in zip(sequences, lengths, token_ends, wanted_ends, strict=True)
        if sequence.adapter is not None
    ]
