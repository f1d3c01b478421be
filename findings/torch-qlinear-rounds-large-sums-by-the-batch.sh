#!/usr/bin/env bash
# torch 2.13.0 (oneDNN 3.12.0), on a processor with AMX.
# Guess: `torch.ops.onednn.qlinear_pointwise` of bytes sums whole numbers exactly, and rounds them to float32 once; so a row's
#   result does not depend on the rows beside it.
# Instead: with rows of uint8 the part of their zero point is taken off after the sums have become float32, which rounds sums
#   above 2^24 a first time, and for one row it is done in another way: its bits differ from those it has in a batch.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch

if not torch.cpu._is_amx_tile_supported():
    print("this processor has no AMX, so there is nothing to see")
    sys.exit(2)
generator = torch.Generator().manual_seed(0)
rows, weight = (torch.randint(20, 128, (count, 12288), generator=generator) for count in (16, 100))
packed = torch.ops.onednn.qlinear_prepack(weight.to(torch.int8), None)
ones, zeros = torch.ones(100), torch.zeros(100, dtype=torch.long)


def product(x, zero):
    """Gives the sums of rows that have this zero."""
    return torch.ops.onednn.qlinear_pointwise(
        x, 1.0, zero, packed, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )


exact = (rows @ weight.T).float()
unsigned = (rows + 128).to(torch.uint8)
together, alone = product(unsigned, 128), product(unsigned[:1], 128)
signed = product(rows.to(torch.int8), 0)
print(f"version:  torch {torch.__version__}")
print("expected: every sum exact and rounded once, alone and together")
print(f"seen:     uint8, 16 rows: {int((together != exact).sum())} of {exact.numel()} sums differ, by up to {(together - exact).abs().max():.0f};")
print(f"          the first row alone and among them: {int((alone != together[:1]).sum())} of {alone.numel()} differ; rows of int8: {int((signed != exact).sum())} differ")
as_stated = not torch.equal(together, exact) and not torch.equal(alone, together[:1]) and torch.equal(signed, exact)
sys.exit(0 if as_stated else 1)
PYTHON
