"""Sequences to one packed batch: laid end to end, without a mask and without padding between them.

        ids        [ sequence 0 | sequence 1 | … | filling ]     N, a multiple of the quantum
        rows       positions of the wanted predictions in that order, R

Matrix products give a row the same value, bit for bit, whatever rows stand beside it, as long as there are enough
of them: with very few rows the libraries switch to other kernels. So every batch is filled up to a multiple of a
small quantum. That makes a request's result in float32 on a CPU independent of its company.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.engine.passes.work import SequenceInput


@dataclass(frozen=True, slots=True)
class PackedBatch:
    ids: list[int]
    """N token ids, filling included."""
    positions: list[int]
    """N positions, each counted within its sequence."""
    lengths: list[int]
    """Length of each sequence; the filling belongs to none."""
    rows: list[int]
    """Where in the batch the wanted predictions are read, sequence by sequence; filled up to the quantum too."""
    num_rows: int
    """How many of `rows` were asked for."""


def pack(
    sequences: Sequence[SequenceInput], prediction_shift: int, fill_id: int, mask_id: int, quantum: int
) -> PackedBatch:
    """Lays `sequences` end to end, of a window its span only, behind each the masks for what is revisable.

    The prediction for position i is read at row max(i - shift, 0) of its sequence.
    """
    ids: list[int] = []
    positions: list[int] = []
    rows: list[int] = []
    lengths: list[int] = []
    for sequence in sequences:
        start, end = sequence.span
        row = len(ids) - start
        rows += [row + max(position - prediction_shift, 0) for position in sequence.wanted]
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
