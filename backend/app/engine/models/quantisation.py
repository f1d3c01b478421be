"""Projections whose weights take one byte each, or half of one. Embedding, norms and head stay floating point.

int8: a weight is a whole number up to 127 times the scale of its output. Where the processor multiplies such numbers,
each row of the input becomes whole numbers with a scale too, while the pass runs (W8A8). Sums of whole numbers are
exact in any order, so a row's result cannot depend on the batch. Elsewhere the weights become floating point for each
product, which saves memory and no time. nf4: four bits that mean one of 16 unequal steps, times the scale of a block of
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
from app.engine.models.layers import Linear

NF4_BLOCK = 64
"""Weights that share a scale."""

MAX_QUANT = 127
"""The largest whole number that a weight becomes; the smallest is as far below 0."""
MIN_SCALE = 1e-30
"""The scale of a row of zeros, by which it can be divided."""


class Int8Linear(nn.Module):
    """A projection without its bias: `qweight` [I, O] in the order that products of few rows read fastest,
    and `scales` [O] in float32."""

    qweight: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        quantised, scales = quantise_rows(weight)
        self.register_buffer("qweight", quantised.T.contiguous())
        self.register_buffer("scales", scales.flatten())

    def forward(self, x: Tensor) -> Tensor:
        """x [N, I] -> [N, O] in the same type."""
        if multiplies_int8(x.device):
            quantised, row_scales = quantise_rows(x)
            sums = torch._int_mm(quantised, self.qweight) * row_scales
        else:  # shrunk by a power of two, so that float16, which ends at 65504, holds the sums
            sums = ((x / 128) @ self.qweight.to(x.dtype)).float() * 128
        return (sums * self.scales).to(x.dtype)


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
    largest = x.abs().amax(-1, keepdim=True).float()  # several times faster than aminmax, or a norm
    scales = largest.div_(MAX_QUANT).clamp_min_(MIN_SCALE)
    return (x / scales).round_().to(torch.int8), scales


def multiplies_int8(device: torch.device) -> bool:
    """Whether products of whole numbers are faster there than those of floats. Without VNNI, PyTorch takes them one by
    one; on other devices it asks for shapes that a batch need not have."""
    return device.type == "cpu" and torch.cpu._is_vnni_supported()


def weights_to_quantise(model: FamilyModel) -> dict[str, Linear]:
    """The projections of all layers, by the names of their weights."""
    projections = {linear for layer in model.stack().layers for linear in layer.parts().linears}
    modules = ((name, module) for name, module in model.named_modules() if isinstance(module, Linear))
    return {f"{name}.weight": module for name, module in modules if module in projections}


def quantised_bytes(weight: Tensor, quantization: QuantizationName) -> int:
    """Bytes that a projection's weight takes once it is quantised: one or half a byte a weight, and a scale of four
    bytes for each output (int8) or for each block (nf4)."""
    if quantization == "int8":
        return weight.numel() + 4 * weight.shape[0]
    return math.ceil(weight.numel() / 2) + 4 * math.ceil(weight.numel() / NF4_BLOCK)
