#!/usr/bin/env bash
# diffusers 0.42.1 (with torch 2.13.0).
# Guess: BlockRefinementScheduler with a temperature of 0.01, or 1 and `top_k` 1, takes the likeliest tokens as a temperature of 0 does,
#   and writes as many of them in a step.
# Instead: `threshold` is held against the probability that is left after temperature and filters, except at 0, where it is the model's own.
#   One token that is left is sure: the whole block is written in its first step, however unsure the model is. A temperature of
#   0.1 takes a quarter of the steps of 0. DiscreteDDIMScheduler and EntropyBoundScheduler give the model's own probability at every
#   temperature. And `minimal_topk`, the "minimum tokens to commit per step", is read by no step.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet diffusers==0.42.1 torch==2.13.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
from importlib.metadata import version

import torch
from diffusers import BlockRefinementScheduler

torch.set_num_threads(1)
LENGTH, VOCABULARY, MASK = 32, 1000, 999
torch.manual_seed(0)
LOGITS = 3 * torch.randn(1, LENGTH, VOCABULARY)
LOGITS[..., MASK] = -99.0


def num_steps(**asked):
    """The steps in which a block of masks is written, at most one for each of them."""
    torch.manual_seed(0)
    scheduler = BlockRefinementScheduler(block_length=LENGTH)
    scheduler.set_timesteps(LENGTH)
    block = torch.full((1, LENGTH), MASK)
    for step in range(LENGTH):
        if not (block == MASK).any():
            return step
        block = scheduler.step(LOGITS, step, block, mask_token_id=MASK, **asked).prev_sample
    return LENGTH


seen = {
    "temperature 0": num_steps(temperature=0.0),
    "temperature 1": num_steps(temperature=1.0),
    "temperature 0.1": num_steps(temperature=0.1),
    "temperature 0.01": num_steps(temperature=0.01),
    "temperature 1 and top_k 1": num_steps(temperature=1.0, top_k=1),
    "temperature 0 and minimal_topk 8": num_steps(temperature=0.0, minimal_topk=8),
}
likeliest = float(LOGITS.softmax(-1).max())
print("version:  diffusers", version("diffusers"), "with torch", version("torch"))
print(f"expected: 32 steps, since no token is more probable than {likeliest:.2f}; 4 with minimal_topk 8")
for name, steps in seen.items():
    print(f"seen:     {steps:2} steps by {name}")
raise SystemExit(0 if list(seen.values())[:2] == [32, 32] and seen["temperature 0.1"] < 16 and list(seen.values())[3:] == [1, 1, 32] else 1)
PYTHON
