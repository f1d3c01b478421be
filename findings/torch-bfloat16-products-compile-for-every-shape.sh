#!/usr/bin/env bash
# torch 2.13.0 (oneDNN 3.12.0), on a processor with AVX-512-BF16 or AMX.
# Guess: a product of bfloat16 matrices takes about as long at its first call for a shape as at later ones, as in float32.
# Instead: a kernel is compiled for each new shape, which takes several times as long as the product of the attention of a short
#   sequence; code whose shapes change all the time, as those of texts do, compiles more than it computes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import time

import torch

if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
    print("this processor multiplies no bfloat16, so there is nothing to see")
    sys.exit(2)
torch.set_num_threads(1)
LENGTHS = range(181, 221)


def milliseconds(dtype):
    """Gives the time of a product of four heads' queries and keys, for 40 lengths in turn."""
    queries = [torch.randn(4, length, 64).to(dtype) for length in LENGTHS]
    started = time.process_time()
    for q in queries:
        torch.bmm(q, q.mT)
    return 1e3 * (time.process_time() - started) / len(queries)


milliseconds(torch.float64)  # so that no first call counts what torch loads
factors = {}
print(f"version:  torch {torch.__version__}")
print("expected: about the same time for lengths that are new and for those seen before")
for dtype in (torch.float32, torch.bfloat16):
    first, *later = (milliseconds(dtype) for _ in range(6))
    factors[dtype] = first / min(later)
    print(f"seen:     {dtype}: {first:.2f} ms a product of a new length, {min(later):.2f} ms of a known one ({factors[dtype]:.1f} times)")
sys.exit(0 if factors[torch.bfloat16] > 4 > factors[torch.float32] else 1)
PYTHON
