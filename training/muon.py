"""Muon (Jordan et al., 2024): momentum, made orthogonal by Newton-Schulz, for the matrices of the layers.

`torch.optim.Muon` always computes in bfloat16, which is very slow on CPUs that lack it; here it is optional.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5, *, is_bf16: bool = False) -> Tensor:
    """The matrices [..., n, m] made nearly orthogonal: close to U Vᵀ of their singular value decomposition.

    The singular values are between about 0.7 and 1.2.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[-2] > matrix.shape[-1]
    x: Tensor = matrix.mT if is_tall else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.bfloat16() if is_bf16 else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if is_tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """The optimizer, with Nesterov momentum and decoupled weight decay.

    Updates are scaled by 0.2 √max(n, m), so that their root mean square is that of AdamW and one rate suits every shape
    (arXiv 2502.16982).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        *,
        is_bf16: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._is_bf16 = is_bf16

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure is ever needed here
        for group in self.param_groups:
            same_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    same_shape.setdefault(parameter.shape, []).append(parameter)
            for parameters in same_shape.values():
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Updates parameters of one shape, whose matrices are made orthogonal together."""
        moved = torch.stack([self._moved(parameter, group["momentum"]) for parameter in parameters])
        for parameter, direction in zip(parameters, orthogonalise(moved, is_bf16=self._is_bf16), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(direction, alpha=-0.2 * group["lr"] * max(parameter.shape) ** 0.5)

    def _moved(self, parameter: Tensor, momentum: float) -> Tensor:
        assert parameter.grad is not None, "step() leaves out what has no gradient"
        velocity: Tensor = self.state[parameter].setdefault("velocity", torch.zeros_like(parameter))
        velocity.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(velocity, momentum)
