#!/usr/bin/env bash
# diffusers 0.42.1 (with torch 2.13.0).
# Guess: an `editing_threshold` of None, 0 or below leaves written tokens as they are, as the documentation of BlockRefinementScheduler
#   says.
# Instead: that holds with a mask token alone. Without one, as DiffusionGemma has it, 0 and numbers below let every written token be
#   replaced by whatever is likeliest now, however unsure.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet diffusers==0.42.1 torch==2.13.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
from importlib.metadata import version

import torch
from diffusers import BlockRefinementScheduler

LENGTH, VOCABULARY = 4, 10


def logits(token, score):
    scores = torch.zeros(1, LENGTH, VOCABULARY)
    scores[..., token] = score
    return scores


def num_edited(threshold, mask):
    """The tokens that a second, unsure prediction replaces, of those that a sure first one wrote."""
    scheduler = BlockRefinementScheduler(block_length=LENGTH, num_inference_steps=2, editing_threshold=threshold)
    scheduler.set_timesteps(2)
    blank = torch.full((1, LENGTH), 8)
    written = scheduler.step(logits(1, 9.0), 0, blank, mask_token_id=mask, threshold=0.5).prev_sample
    assert written.tolist() == [[1] * LENGTH]
    later = scheduler.step(logits(2, 0.5), 1, written, mask_token_id=mask, threshold=0.5).prev_sample
    return int((later != written).sum())


print("version:  diffusers", version("diffusers"), "with torch", version("torch"))
print("expected: nothing is edited by None, 0.0 and -1.0")
seen = {}
for name, mask in (("with a mask token", 8), ("without", None)):
    seen[name] = [num_edited(threshold, mask) for threshold in (None, 0.0, -1.0)]
    print(f"seen:     {name}: {seen[name]} of {LENGTH} tokens edited")
raise SystemExit(0 if seen == {"with a mask token": [0, 0, 0], "without": [0, 4, 4]} else 1)
PYTHON
