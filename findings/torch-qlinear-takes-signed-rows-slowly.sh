#!/usr/bin/env bash
# torch 2.13.0 (oneDNN 3.12.0).
# Guess: `torch.ops.onednn.qlinear_pointwise` multiplies rows of int8 about as fast as rows of uint8: it takes both, and the
#   result is the same.
# Instead: without AMX, rows of int8 meet a reference kernel that is hundreds of times slower; no warning says so. (With AMX
#   both are fast, so the processor is limited to VNNI here, by oneDNN's own variable.)
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 || exit 2

ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI "$folder/venv/bin/python" - <<'PYTHON'
import sys
import time

import torch

if not torch.cpu._is_vnni_supported():
    print("this processor has no AVX-512 VNNI, so there is nothing to see")
    sys.exit(2)
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
rows, weight = (torch.randint(-127, 128, shape, generator=generator) for shape in ((16, 1024), (1024, 1024)))
packed = torch.ops.onednn.qlinear_prepack(weight.to(torch.int8), None)
ones, zeros = torch.ones(1024), torch.zeros(1024, dtype=torch.long)


def product(x, zero):
    """Gives the sums of rows that have this zero, and the shortest of three times."""
    times = []
    for _ in range(3):
        started = time.process_time()
        sums = torch.ops.onednn.qlinear_pointwise(
            x, 1.0, zero, packed, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        times.append(time.process_time() - started)
    return sums, min(times)


unsigned, unsigned_s = product((rows + 128).to(torch.uint8), 128)
signed, signed_s = product(rows.to(torch.int8), 0)
ratio = signed_s / unsigned_s
print(f"version:  torch {torch.__version__}")
print("expected: the same sums, in about the same time")
print(f"seen:     the same sums: {torch.equal(signed, unsigned)}; uint8 {unsigned_s * 1e3:.2f} ms, int8 {signed_s * 1e3:.2f} ms: {ratio:.0f} times as long")
sys.exit(0 if torch.equal(signed, unsigned) and ratio > 20 else 1)
PYTHON
