"""The layers that the families share: RMSNorm, rotary embedding, SwiGLU, bidirectional attention.

Sequences of a batch lie end to end in one row of N tokens and are never padded to a common length:
every matrix product sees all of them at once, attention sees each alone. So no mask exists, and
what a sequence attends to cannot depend on its neighbours in the batch.
Shapes: N tokens, d width, H query heads, K key/value heads, D = d / H.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear layer without a start value on the meta device, where drawing one imports seconds' worth of torch."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()


class Embedding(nn.Embedding):
    """Like `Linear`."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()


class RMSNorm(nn.Module):
    """x · rsqrt(mean(x²) + eps) in float32, cast back *before* the product with the weight, as both families do."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype is torch.float32:  # nothing is cast, and one kernel does it
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        x32 = x.float()
        normalised = x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * normalised.to(x.dtype)


class Rotary(nn.Module):
    """Rotary position embedding, half-split layout (arXiv 2104.09864), angles in float32."""

    MAX_TABLE = 8192
    """Positions whose angles are in a table on a CPU: for a span of some tokens, computing them is a tenth of the
    pass."""

    def __init__(self, head_dim: int, theta: float) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.theta = theta
        self._table: tuple[Tensor, Tensor] | None = None

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """positions [N] -> (cos, cos) and (-sin, sin), each [N, 1, D] in float32. Asked once per forward pass."""
        if positions.device.type != "cpu" or not positions.numel():
            return self._computed(positions)
        end = int(positions.max()) + 1
        if end > self.MAX_TABLE:
            return self._computed(positions)
        if self._table is None or self._table[0].shape[0] < end:
            with torch.inference_mode(False):  # training may use the table that decoding has made
                self._table = self._computed(torch.arange(min(2 * end, self.MAX_TABLE)))
        cos, sin = self._table
        return cos[positions], sin[positions]

    def _computed(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        exponents = torch.arange(0, self.head_dim, 2, device=positions.device, dtype=torch.float32) / self.head_dim
        frequencies = 1.0 / self.theta**exponents
        phase = positions.float()[:, None] * frequencies  # [N, D/2]
        cos, sin = phase.cos(), phase.sin()
        return torch.cat((cos, cos), dim=-1)[:, None, :], torch.cat((-sin, sin), dim=-1)[:, None, :]

    @staticmethod
    def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x [N, heads, D] = (a, b) -> (a cos - b sin, b cos + a sin) in the same dtype, by each token's position."""
        x32 = x.float()
        a, b = x32.chunk(2, dim=-1)
        return torch.addcmul(x32 * cos, torch.cat((b, a), dim=-1), sin).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int]) -> Tensor:
    """Bidirectional attention within each sequence: q [N, H, D], k and v [N, K, D] -> [N, H·D].

    Query head h reads key head ⌊h·K/H⌋. Neighbours of equal length share one call.
    Rows past `sum(lengths)` are filling (see `batch.py`) and give zeros.
    """
    k, v = _for_each_head(k, q), _for_each_head(v, q)
    runs = [(len(list(run)), length) for length, run in groupby(lengths)]
    num_filling = q.shape[0] - sum(lengths)
    # split, not slices: the gradient of a slice is as large as the whole batch
    sizes = [count * length for count, length in runs] + [num_filling]
    pieces = []
    parts_of = (torch.split(x, sizes) for x in (q, k, v))
    for (count, length), *parts in zip(runs, *parts_of, strict=False):
        # [count·length, H, D] -> [count, H, length, D], the order that scaled_dot_product_attention wants
        qs, ks, vs = (part.view(count, length, *part.shape[1:]).transpose(1, 2) for part in parts)
        pieces.append(F.scaled_dot_product_attention(qs, ks, vs).transpose(1, 2).flatten(0, 1))
    if num_filling:
        pieces.append(q.new_zeros(num_filling, *q.shape[1:]))
    return (pieces[0] if len(pieces) == 1 else torch.cat(pieces)).flatten(1)


def attend_across(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    """Attention of some tokens of one sequence to all of it, or what is `seen` [n, T] of it: q [n, H, D], k and v
    [T, K, D] -> [n, H·D]."""
    k, v = _for_each_head(k, q), _for_each_head(v, q)
    qs, ks, vs = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(qs, ks, vs, seen)[0].transpose(0, 1).flatten(1)


def _for_each_head(x: Tensor, q: Tensor) -> Tensor:
    """Keys or values [N, K, D] as often as the heads of q want them: [N, H, D]."""
    num_groups = q.shape[1] // x.shape[1]
    return x if num_groups == 1 else x.repeat_interleave(num_groups, dim=1)


def chosen(x: Tensor, rows: Tensor | None) -> Tensor:
    """The chosen rows of x [N, …]; all of them where `rows` is `None`."""
    return x if rows is None else x[rows]


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) ⊙ up (arXiv 2002.05202)."""
    return F.silu(gate) * up
