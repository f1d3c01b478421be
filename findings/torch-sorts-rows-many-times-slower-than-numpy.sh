#!/usr/bin/env bash
# torch 2.13.0 beside numpy 2.4.6, on one thread of a processor of the x86-64 kind.
# Guess: rows of float32 logits are sorted in about the same time by both, within a factor of two or three.
# Instead: torch, whose sorts find the indices too, takes many times as long: for top-p over a whole vocabulary that is more than
#   the rest of sampling.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import time

import numpy as np
import torch

torch.set_num_threads(1)
logits = torch.randn(32, 4096)


def milliseconds(work):
    """Gives the least processor time of seven calls."""
    taken = []
    for _ in range(7):
        started = time.process_time()
        work()
        taken.append(1e3 * (time.process_time() - started))
    return min(taken)


both = milliseconds(lambda: logits.sort(-1)), milliseconds(lambda: np.sort(logits.numpy(), axis=-1))
assert torch.equal(logits.sort(-1).values, torch.from_numpy(np.sort(logits.numpy(), axis=-1)))
print(f"version:  torch {torch.__version__}, numpy {np.__version__}")
print("expected: 32 rows of 4,096 numbers are sorted in about the same time")
print(f"seen:     torch {both[0]:.1f} ms, numpy {both[1]:.2f} ms ({both[0] / both[1]:.0f} times), the same values")
sys.exit(0 if both[0] > 5 * both[1] else 1)
PYTHON
