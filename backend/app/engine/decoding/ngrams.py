"""Tokens that would write a run of tokens once more, on a canvas that is filled in any order.

Hugging Face's `no_repeat_ngram_size` asks what the next token would complete. Here a mask may stand anywhere within a
run, so each run of n positions that holds one mask and no other is asked: where its other n - 1 tokens stand in a
run that is already written, the token there is the one that would repeat it.

    n = 4    a b c d . a b c _    the mask cannot become d
             a b c d . _ b c d    nor a here
             a b c d . _ _ c d    two masks: the run is not complete yet
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def repeating(written: Sequence[int], size: int, mask_id: int, end_ids: Collection[int]) -> tuple[tuple[int, int], ...]:
    """Gives the masks of a text, by their indices, with each token that they must not become, in ascending order.

    Args:
        written: ids in reading order, masks among them.
        size: tokens of the runs that may stand there once, at least 1.
        end_ids: ids that no run contains, for the end of a text may stand at any number of positions.
    """
    if len(written) < size:
        return ()
    runs = sliding_window_view(np.array(written, np.int64), size)  # [number of runs, size]
    num_masks = (runs == mask_id).sum(1)
    is_text = ~np.isin(runs, list(end_ids)).any(1)
    asking, whole = np.flatnonzero((num_masks == 1) & is_text), runs[(num_masks == 0) & is_text]
    slots = (runs[asking] == mask_id).argmax(1)
    agreeing = (runs[asking][:, None] == whole).sum(2) == size - 1  # a mask agrees with no token
    which, where = agreeing.nonzero()
    slots = slots[which]
    pairs = zip((asking[which] + slots).tolist(), whole[where, slots].tolist(), strict=True)
    return tuple(sorted(set(pairs)))
