"""The layers as their formulas say, slowly: what the fast ones are compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    rows = [[value / math.sqrt(sum(v * v for v in row) / len(row) + eps) for value in row] for row in x.tolist()]
    return torch.tensor(rows) * weight


def rotate(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """x [N, heads, D]: the pair (x[j], x[j + D/2]) is a complex number, turned by position · theta^(-2j/D)."""
    half = x.shape[-1] // 2
    frequencies = torch.tensor([theta ** (-j / half) for j in range(half)])
    angles = positions[:, None, None] * frequencies
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((turned.real, turned.imag), dim=-1)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One sequence, head by head; query head h reads key head ⌊h·K/H⌋."""
    num_heads, num_kv_heads = q.shape[1], k.shape[1]
    heads = []
    for head in range(num_heads):
        shared = head * num_kv_heads // num_heads
        weights = torch.einsum("qd,kd->qk", q[:, head], k[:, shared]) / math.sqrt(q.shape[2])
        heads.append(weights.softmax(-1) @ v[:, shared])
    return torch.stack(heads, dim=1).flatten(1)


def gated(gate: Tensor, up: Tensor) -> Tensor:
    return gate / (1 + (-gate).exp()) * up
