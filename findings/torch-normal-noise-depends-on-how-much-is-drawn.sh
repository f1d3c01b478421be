#!/usr/bin/env bash
# torch 2.13.0, on the processor.
# Guess: with one seed a longer draw of `torch.randn` begins with the shorter one, as draws of `torch.rand` do, and NumPy's
#   `standard_normal`; so the noise of a canvas stays where it is when the canvas grows at its end.
# Instead: from 16 numbers on others are drawn than below, and in a draw of a length that 16 does not divide the last
#   16 are drawn anew, so that a draw of 17 shares hardly a number with one of 24. Noise that has to stay is the beginning of a
#   buffer of fixed length, or is made of `torch.rand`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import torch

torch.set_num_threads(1)
DRAWS = {
    "torch.randn": lambda size: torch.randn(size, generator=torch.Generator().manual_seed(0)).tolist(),
    "torch.rand": lambda size: torch.rand(size, generator=torch.Generator().manual_seed(0)).tolist(),
    "numpy": lambda size: np.random.default_rng(0).standard_normal(size).tolist(),
}
PAIRS = [(14, 15), (15, 16), (16, 17), (17, 24), (32, 40), (32, 48)]


def shared(draw, short, long):
    """How many of the shorter draw's numbers the longer draw has in the same places."""
    return sum(a == b for a, b in zip(draw(short), draw(long)))


print("version: ", "torch", torch.__version__, "numpy", np.__version__)
print("expected: all of the shorter draw's numbers at the same places of the longer one")
found = {name: [shared(draw, *pair) for pair in PAIRS] for name, draw in DRAWS.items()}
for name, counts in found.items():
    print(f"seen:     {name:12}", ", ".join(f"{count} of {short} in {long}" for count, (short, long) in zip(counts, PAIRS)))
everything = [short for short, _ in PAIRS]
is_kept = [count == short for count, short in zip(found["torch.randn"], everything)]
is_as_told = found["torch.rand"] == found["numpy"] == everything and is_kept == [True, False, False, False, False, True]
raise SystemExit(0 if is_as_told else 1)
PYTHON
