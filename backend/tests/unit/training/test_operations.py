"""Each operation against PyTorch's own in float32: values and gradients agree as far as bfloat16 can say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.models.layers import Rotary, attend, swiglu
from training.layout import Heads, Layout
from training.operations import LOSS_ROWS, Angles, attention, gated, norm, summed_cross_entropy


def agree(own: Tensor, expected: Tensor) -> None:
    """The difference is small beside the value."""
    assert own.shape == expected.shape
    assert (own.float() - expected).norm() < 0.02 * expected.norm()


def compare(own: Callable[..., Tensor], expected: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """Compares values and gradients by all inputs; what `own` is given has its own types."""
    results, gradients = [], []
    for compute in (own, expected):
        given = [x.detach().clone().requires_grad_() for x in inputs]
        result = compute(*given)
        towards = torch.cos(torch.arange(result.numel()).float()).view_as(result).to(result.dtype)
        results.append(result)
        gradients.append(torch.autograd.grad(result, given, towards))
    agree(results[0], results[1])
    for mine, theirs in zip(*gradients, strict=True):
        agree(mine, theirs)


def test_a_norm() -> None:
    torch.manual_seed(0)
    weight = 1 + torch.randn(16) / 4
    compare(lambda x, w: norm(x, w, 1e-5), lambda x, w: F.rms_norm(x, (16,), w, 1e-5), (torch.randn(9, 16), weight))


def test_a_gated_unit() -> None:
    torch.manual_seed(0)
    halves = torch.randn(9, 24)
    compare(lambda x: gated(x.bfloat16()), lambda x: swiglu(*x.chunk(2, -1)), (halves,))


@pytest.mark.parametrize("num_keys", [4, 2, 1])
@pytest.mark.parametrize("lengths", [[32], [5], [7, 31, 33, 64], [1, 2, 3, 40, 41, 64, 64]])
def test_attention_within_each_sequence(num_keys: int, lengths: list[int]) -> None:
    torch.manual_seed(0)
    heads, rotary = Heads(4, num_keys, 8), Rotary(8, 1e4)
    num_filling = 3
    packed = torch.randn(sum(lengths) + num_filling, (4 + 2 * num_keys) * 8)
    positions = torch.cat([torch.arange(length) for length in [*lengths, num_filling]])

    def expected(x: Tensor) -> Tensor:
        q, k, v = torch.split(x.view(len(x), -1, 8), [4, num_keys, num_keys], dim=1)
        angles = rotary.angles(positions)
        return attend(Rotary.rotate(q, *angles), Rotary.rotate(k, *angles), v, lengths)

    cos, sin = rotary.angles(positions)
    angles = Angles(cos[..., :4].bfloat16(), sin[..., 4:].bfloat16())
    layout = Layout.of(lengths, len(packed), heads)
    compare(lambda x: attention(x.bfloat16(), layout, heads, angles), expected, (packed,))


@pytest.mark.parametrize("num_rows", [3, LOSS_ROWS + 1])
def test_a_loss(num_rows: int) -> None:
    torch.manual_seed(0)
    states, head = torch.randn(num_rows, 16), torch.randn(40, 16)
    targets, weights = torch.randint(40, (num_rows,)), torch.rand(num_rows)

    def expected(x: Tensor, w: Tensor) -> Tensor:
        return (F.cross_entropy(x @ w.T, targets, reduction="none") * weights).sum()

    compare(lambda x, w: summed_cross_entropy(x.bfloat16(), w.bfloat16(), targets, weights), expected, (states, head))
