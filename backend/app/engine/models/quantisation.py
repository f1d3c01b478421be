"""Projections whose weights take one byte each, or half of one. Embedding, norms and head stay floating point.

int8: a weight is a whole number up to 127 times the scale of its output. On a CPU that multiplies such numbers, each
row of the input becomes whole numbers with a scale too, while the pass runs (W8A8). Sums of whole numbers are exact in
any order, so a row's result cannot depend on the batch. Elsewhere the weights become floating point for each product,
which saves memory and no time. nf4: four bits that mean one of 16 unequal steps, times the scale of a block of
64 weights (QLoRA, arXiv 2305.14314), unpacked for each product by bitsandbytes.

    weights of one output   0.50  -0.25  0.10      scale = 0.50 / 127
    qweight                 127   -64    25        -64 · scale = -0.252

Quantised weights are buffers. They keep their types where a model's parameters change theirs.
Shapes: N rows; I inputs and O outputs of a projection.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.engine.interface.config import QuantizationName
from app.engine.models.base import FamilyModel
from app.engine.models.byte_products import SIGNED, packed, packed_product, packed_zero, unpacked
from app.engine.models.layers import Linear

NF4_BLOCK = 64
"""Weights that share a scale."""

MAX_QUANT = 127
"""The largest whole number that a weight becomes; the smallest is as far below 0."""
LEAST_PACKED = 2**19
"""Weights of a projection from which on they are packed; the call of a smaller one takes longer than it saves."""
PIECE = 2**18
"""Weights that become whole numbers together."""
MIN_SCALE = 1e-30
"""The scale of a row of zeros, by which it can be divided."""


class Int8Linear(nn.Module):
    """A projection without its bias: `qweight`, packed (`byte_products.py`) or as [I, O], the order that products of
    few rows read fastest, and `scales` [O] in float32."""

    qweight: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        quantised, scales = _quantised_in_pieces(weight)
        self.register_buffer("qweight", stored(quantised))
        self.register_buffer("scales", scales)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, I] -> [N, O] in the same type."""
        if self.qweight.is_mkldnn:
            product = self._packed_product(x)
        elif multiplies_int8(x.device):
            quantised, row_scales = quantise_rows(x)
            product = torch._int_mm(quantised, self.qweight) * row_scales
        else:  # shrunk by a power of two, so that float16, which ends at 65504, holds the sums
            product = ((x / 128) @ self.qweight.to(x.dtype)).float() * 128
        return product.mul_(self.scales).to(x.dtype)

    def numbers(self) -> Tensor:
        """The weights as whole numbers [I, O], however they are stored."""
        return unpacked(self.qweight).T if self.qweight.is_mkldnn else self.qweight

    @property
    def num_weights(self) -> int:
        return self.qweight.numel()

    def _packed_product(self, x: Tensor) -> Tensor:
        zero = packed_zero()
        assert zero is not None, "weights are packed only where packed weights can be multiplied"
        rounded, row_scales = _rounded_rows(x)
        rows = rounded.to(torch.int8) if zero == SIGNED else rounded.add_(zero).to(torch.uint8)
        return packed_product(rows, self.qweight, zero).mul_(row_scales)


class Nf4Linear(nn.Module):
    """A projection without its bias: `qweight` with two weights a byte, as bitsandbytes packs them on every device, and
    the `scales` of its blocks in float32."""

    qweight: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        from bitsandbytes.functional import quantize_4bit  # heavy, and optional

        qweight, state = quantize_4bit(weight, blocksize=NF4_BLOCK, quant_type="nf4")
        self.register_buffer("qweight", qweight)
        self.register_buffer("scales", state.absmax)
        self._shape = tuple(weight.shape)

    @property
    def num_weights(self) -> int:
        return math.prod(self._shape)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, I] -> [N, O] in the same type."""
        unpacked = torch.ops.bitsandbytes.dequantize_4bit
        return F.linear(x, unpacked(self.qweight, self.scales, NF4_BLOCK, "nf4", self._shape, x.dtype))


class QuantisedLinear(nn.Module):
    """Takes the place of a `Linear`. The bias, if there is one, is a parameter under its published name."""

    bias: Tensor | None

    def __init__(self, replaced: Linear, weight: Tensor, quantization: QuantizationName) -> None:
        super().__init__()
        self.product = Int8Linear(weight) if quantization == "int8" else Nf4Linear(weight)
        self.bias = replaced.bias

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = self.product(x)
        return product if self.bias is None else product + self.bias


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [R, d] as whole numbers of int8 [R, d], and the scales [R, 1] in float32 by which they are x again, rounded."""
    rounded, scales = _rounded_rows(x)
    return rounded.to(torch.int8), scales


def _quantised_in_pieces(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight [O, I] as whole numbers, and the scales [O] of its outputs. Some rows at a time: what stays in the
    processor's cache is two to three times as fast, and nothing of the weight's size is made beside the numbers."""
    numbers = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scales = torch.empty(len(weight), device=weight.device)
    num_rows = max(1, PIECE // weight.shape[1])
    for start in range(0, len(weight), num_rows):
        piece = slice(start, start + num_rows)
        quantised, row_scales = quantise_rows(weight[piece])
        numbers[piece], scales[piece] = quantised, row_scales.flatten()
    return numbers, scales


def _rounded_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the same with whole numbers that are still float32. Rows are converted once, and then divided in place:
    memory for a further copy of a canvas is new each time, and takes longer to get than to fill."""
    rows = x.float()
    largest = torch.maximum(rows.amax(-1, keepdim=True), rows.amin(-1, keepdim=True).neg_())
    scales = largest.div_(MAX_QUANT).clamp_min_(MIN_SCALE)
    return torch.div(rows, scales, out=None if rows is x else rows).round_(), scales


def stored(numbers: Tensor) -> Tensor:
    """The weights [O, I] of a projection as its device multiplies them: `Int8Linear.qweight`."""
    if numbers.device.type == "cpu" and numbers.numel() >= LEAST_PACKED and packed_zero() is not None:
        return packed(numbers)
    return numbers.T.contiguous()


def placed(weight: Tensor, device: torch.device) -> Tensor:
    """A buffer of a quantised projection on another device, stored as that one wants it."""
    if weight.dtype is not torch.int8 or weight.device == device:
        return weight.to(device)
    numbers = unpacked(weight) if weight.is_mkldnn else weight.T
    return stored(numbers.to(device))


def multiplies_int8(device: torch.device) -> bool:
    """Whether products of whole numbers, not packed, are faster there than those of floats. Without VNNI, PyTorch takes
    them one by one; on other devices it asks for shapes that a batch need not have."""
    return device.type == "cpu" and torch.cpu._is_vnni_supported()


def weights_to_quantise(model: FamilyModel) -> dict[str, Linear]:
    """The projections of all layers, by the names of their weights."""
    projections = {linear for layer in model.stack().layers for linear in layer.parts().linears}
    modules = ((name, module) for name, module in model.named_modules() if isinstance(module, Linear))
    return {f"{name}.weight": module for name, module in modules if module in projections}


def quantization_of(model: FamilyModel) -> QuantizationName:
    """The form of the weights of a model's layers."""
    for module in model.modules():
        if isinstance(module, QuantisedLinear):
            return "int8" if isinstance(module.product, Int8Linear) else "nf4"
    return "none"


def num_weights(model: FamilyModel) -> int:
    """The number of weights of a model, whatever their form."""
    quantised = (module.product.num_weights for module in model.modules() if isinstance(module, QuantisedLinear))
    return sum(weight.numel() for weight in model.parameters()) + sum(quantised)


def quantised_bytes(weight: Tensor, quantization: QuantizationName) -> int:
    """Bytes that a projection's weight takes once it is quantised: one or half a byte a weight, and a scale of four
    bytes for each output (int8) or for each block (nf4)."""
    if quantization == "int8":
        return weight.numel() + 4 * weight.shape[0]
    return math.ceil(weight.numel() / 2) + 4 * math.ceil(weight.numel() / NF4_BLOCK)
