"""The log of how far a checkpoint has been read: a large one that is quantised on a CPU takes a minute."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator

from torch import Tensor

log = logging.getLogger(__name__)

EVERY_S = 5.0
"""Seconds between two lines. What takes less is read in silence."""


def reported(
    tensors: Iterable[tuple[str, Tensor]], name: str, num_bytes: int, num_weights: int
) -> Iterator[tuple[str, Tensor]]:
    """The tensors, with a line in the log every few seconds.

    Args:
        num_bytes: size of the files, of which each weight counts an equal share.
        num_weights: weights of all tensors.
    """
    num_read, last_s = 0, time.monotonic()
    for tensor_name, weight in tensors:
        yield tensor_name, weight
        num_read += weight.numel()
        now_s = time.monotonic()
        if now_s - last_s >= EVERY_S:
            last_s = now_s
            log.info("%s: %.1f of %.1f GB are read", name, num_bytes * num_read / num_weights / 1e9, num_bytes / 1e9)
