#!/usr/bin/env bash
# diffusers 0.42.1 (with torch 2.13.0 and transformers 5.24.0).
# Guess: LLaDA2Pipeline with 32 steps for a block of 32 writes a token a step, in an answer of 8 tokens too.
# Instead: `num_inference_steps` is bounded by `gen_length`, and still shared out over the whole block: four tokens a step. And the
#   places behind the answer, which are thrown away, are written in turn with the others: here five of seven steps write nothing but those.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet diffusers==0.42.1 torch==2.13.0 transformers==5.24.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
from importlib.metadata import version
from types import SimpleNamespace

import torch
from diffusers import BlockRefinementScheduler, LLaDA2Pipeline
from torch import nn

PROMPT, LENGTH, BLOCK, MASK, VOCABULARY = [2, 3, 4, 5], 8, 32, 8, 10


class Model(nn.Module):
    """Says the same token everywhere, and is a little surer of it from one place to the next."""

    device, dtype = torch.device("cpu"), torch.float32

    def forward(self, ids, attention_mask=None, position_ids=None):
        logits = torch.zeros(*ids.shape, VOCABULARY)
        logits[..., 1] = torch.arange(ids.shape[1]) / 100
        return SimpleNamespace(logits=logits)


written = []


def note(pipeline, step, timestep, values):
    written.append(values["transfer_index"][0].nonzero().flatten().tolist())
    return values


pipeline = LLaDA2Pipeline(Model(), BlockRefinementScheduler(), None)
pipeline.set_progress_bar_config(disable=True)
pipeline(
    input_ids=torch.tensor([PROMPT]),
    gen_length=LENGTH,
    block_length=BLOCK,
    num_inference_steps=BLOCK,
    temperature=0.0,
    editing_threshold=None,
    mask_token_id=MASK,
    output_type="seq",
    callback_on_step_end=note,
    callback_on_step_end_tensor_inputs=["transfer_index", "block_x"],
)
inside = [sum(place < len(PROMPT) + LENGTH for place in step) for step in written if step]
print("version:  diffusers", version("diffusers"), "with torch", version("torch"))
print("expected: [1, 1, 1, 1, 1, 1, 1, 1] tokens of the answer in its eight steps")
print(f"seen:     {inside} in {len(inside)} steps")
raise SystemExit(0 if inside == [0, 0, 0, 0, 0, 4, 4] else 1)
PYTHON
