"""Reachability in graphs of states."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]


def reached(sources: Integers, targets: Integers, starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The states that can be reached from the starts, these included, as [states].

    Edge i leads from sources[i] to targets[i].
    """
    pairs = np.unique(sources.astype(np.int64) * len(starts) + targets)
    from_state, to_state = np.divmod(pairs, len(starts))
    begins = np.searchsorted(from_state, np.arange(len(starts) + 1)).tolist()
    behind = to_state.tolist()
    seen = starts.tolist()
    stack = np.flatnonzero(starts).tolist()
    while stack:
        state = stack.pop()
        for target in behind[begins[state] : begins[state + 1]]:
            if not seen[target]:
                seen[target] = True
                stack.append(target)
    return np.array(seen)
