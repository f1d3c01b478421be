"""The least time of a forward pass: its arithmetic at the device's peak, or its bytes at the speed of its memory.

The slower of the two is the roofline (Williams et al., CACM 2009). It counts only unavoidable work: matrix products,
attention, every weight read once, cached keys and values read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from app.engine.models.base import ModelConfig
from app.engine.passes.work import SequenceInput
from benchmarks import machine


def cost(config: ModelConfig, itemsize: int, sequences: Sequence[SequenceInput]) -> tuple[int, int]:
    """The floating point operations and the bytes read of one pass."""
    lengths = [end - start for start, end in (sequence.bounds for sequence in sequences)]
    num_tokens, num_rows = sum(lengths), sum(len(sequence.wanted) for sequence in sequences)
    seen = [len(sequence.ids) for sequence in sequences]
    width, kv_width = config.width, config.num_kv_heads * config.head_dim
    projections = width * (width + 2 * kv_width)
    behind_attention = width * width + 3 * width * config.mlp_width
    head = width * config.vocab_size
    # Behind the last layer's attention only the wanted rows go on.
    products = config.num_layers * num_tokens * projections + num_rows * head
    products += ((config.num_layers - 1) * num_tokens + num_rows) * behind_attention
    attention = 2 * config.num_layers * width * sum(n * total for n, total in zip(lengths, seen, strict=True))
    weights = config.num_layers * (projections + behind_attention) + head
    cached = 2 * config.num_layers * kv_width * (sum(seen) - num_tokens)
    return 2 * (products + attention), itemsize * (weights + cached)


def least_s(
    config: ModelConfig,
    dtype: torch.dtype,
    limits: Mapping[str, float],
    passes: Iterable[Sequence[SequenceInput]],
) -> float:
    """The seconds that the passes take on the roofline of `machine.limits`."""
    flops_per_s, bytes_per_s = limits[f"{machine.name_of(dtype)}_gflops"] * 1e9, limits["read_gb_per_s"] * 1e9
    costs = (cost(config, dtype.itemsize, sequences) for sequences in passes)
    return sum(max(flops / flops_per_s, num_bytes / bytes_per_s) for flops, num_bytes in costs)
