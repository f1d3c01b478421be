"""Products of bytes on a CPU: whole numbers, summed exactly, by oneDNN with weights that are packed once.

The operator is one that PyTorch has for its own quantised models. It gives what `torch._int_mm` gives, bit for bit, up
to 2.7 times as fast with few rows. Not on every processor, so it is tried before it is used:

    rows with a sign      the fast kernel of AMX, and of no other: elsewhere it is a thousand times slower
    rows without one      number + 128, from whose sums 128 · Σ weight is taken off: the fast kernel of VNNI
    the same with AMX     that is taken off after sums have become float32, which rounds those above 2^24, and rounds
                          otherwise for very few rows: a row's result would depend on its batch
    without VNNI          pairs of products saturate at 2^15

Shapes: N rows; I inputs and O outputs.
"""

from __future__ import annotations

import logging
import os
from functools import cache

import torch
from torch import Tensor

log = logging.getLogger(__name__)

SIGNED, UNSIGNED = 0, 128
"""The zero of the bytes that a row becomes."""
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables of oneDNN, by which a processor is used as if it were an older one."""
_PROBE_SHAPE = (17, 1536, 40)
"""N, I and O of the products that are tried: wide enough for sums above 2^24, and no multiple of what kernels like."""


@cache
def packed_zero() -> int | None:
    """The zero of the rows that packed weights are multiplied with; `None` where weights are not packed."""
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):  # others have slow kernels, if any
        return None
    zero = SIGNED if torch.cpu._is_amx_tile_supported() and not any(map(os.environ.get, _LIMITS)) else UNSIGNED
    try:
        return zero if _is_exact(zero) else None
    except Exception as error:  # an operator that is not PyTorch's own interface may go, or change
        log.info("products of bytes run without packed weights: %s", error)
        return None


def packed(numbers: Tensor) -> Tensor:
    """Packs the weights of a projection: int8 [O, I] -> as many bytes, in an order of oneDNN's own."""
    weight: Tensor = torch.ops.onednn.qlinear_prepack(numbers, None)
    return weight


def unpacked(weight: Tensor) -> Tensor:
    """The numbers of packed weights, int8 [O, I]."""
    return weight.to_dense().T


def packed_product(rows: Tensor, weight: Tensor, zero: int) -> Tensor:
    """The sums [N, O] of rows [N, I] and packed weights, in float32.

    Args:
        rows: int8 with a zero of `SIGNED`; uint8 with one of `UNSIGNED`.
    """
    num_outputs = weight.shape[-1]
    if not len(rows):
        return torch.empty(0, num_outputs)
    ones, zeros = _constants(num_outputs)
    sums: Tensor = torch.ops.onednn.qlinear_pointwise(
        *(rows, 1.0, zero, weight, ones, zeros, None), *(1.0, 0, torch.float32, "none", [], "")
    )
    return sums


@cache
def _constants(num_outputs: int) -> tuple[Tensor, Tensor]:
    """Scales of 1 and zeros of 0, for that many outputs."""
    with torch.inference_mode(False):
        return torch.ones(num_outputs), torch.zeros(num_outputs, dtype=torch.long)


@torch.inference_mode()
def _is_exact(zero: int) -> bool:
    """Whether packed products of large and of random numbers, of one row and of several, are right to the bit."""
    num_rows, num_inputs, num_outputs = _PROBE_SHAPE
    generator = torch.Generator().manual_seed(0)
    rows, numbers = (
        torch.randint(-127, 128, (count, num_inputs), generator=generator) for count in (num_rows, num_outputs)
    )
    rows[0], rows[1], numbers[0] = 127, -127, 127
    numbers[1:9] = numbers[1:9].abs()
    sums, weight = (rows @ numbers.T).float(), packed(numbers.to(torch.int8))
    shifted = (rows + zero).to(torch.int8 if zero == SIGNED else torch.uint8)
    products = (packed_product(shifted, weight, zero), packed_product(shifted[:1], weight, zero))
    is_kept = torch.equal(unpacked(weight), numbers.to(torch.int8))
    return is_kept and torch.equal(products[0], sums) and torch.equal(products[1], sums[:1])
