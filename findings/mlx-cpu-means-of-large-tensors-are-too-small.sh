#!/usr/bin/env bash
# mlx 0.32.4 (with mlx-cpu 0.32.4), on Linux without a GPU.
# Guess: `mx.mean`, `mx.var` and the norm of a float32 tensor of ones are 1, 0 and the root of its size, however large it is.
# Instead: one sum runs through the whole tensor in float32 and stays at 2^24, where one more no longer counts. Of 2^25 ones, fewer than
#   a 7B model's embedding has, the mean is 0.5 and the variance 0.125; of 2^26 the mean is 0.25. The maximal norm of
#   `mlx.optimizers.clip_grad_norm` is missed by as much. Sums along one axis of a matrix of the same values are right.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mlx==0.32.4 mlx-cpu==0.32.4 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import sys

import mlx.core as mx
from mlx.optimizers import clip_grad_norm

mx.set_default_device(mx.cpu)
ones = {power: mx.ones(1 << power) for power in (24, 25, 26)}
means = {power: mx.mean(each).item() for power, each in ones.items()}
variance = mx.var(ones[25]).item()
by_rows = mx.mean(mx.mean(ones[25].reshape(-1, 1024), axis=1)).item()
clipped, _ = clip_grad_norm({"weight": ones[26]}, 1.0)
norm = mx.linalg.norm(clipped["weight"].reshape(-1, 1024), axis=1)
norm = mx.sqrt(mx.sum(norm * norm)).item()
print(f"version:  mlx {importlib.metadata.version('mlx')}")
print("expected: mean 1 and variance 0 for every size; gradients clipped to a norm of 1 have this norm")
print(f"seen:     mean of 2^24, 2^25, 2^26 ones: {means[24]}, {means[25]}, {means[26]}; variance of 2^25: {variance}; row by row: {by_rows}")
print(f"          2^26 gradients clipped to a norm of 1 have a norm of {norm:.2f}")
as_stated = (*means.values(), variance, by_rows) == (1.0, 0.5, 0.25, 0.125, 1.0) and abs(norm - 2) < 0.01
sys.exit(0 if as_stated else 1)
PYTHON
