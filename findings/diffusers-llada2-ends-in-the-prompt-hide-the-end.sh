#!/usr/bin/env bash
# diffusers 0.42.1 (with torch 2.13.0 and transformers 5.24.0).
# Guess: with `eos_early_stop`, the default, LLaDA2Pipeline stops once the answer has ended, whatever the prompt is.
# Instead: it looks for the first end-of-text token of the whole canvas. Where the prompt has one, as behind an earlier turn of a
#   conversation, the answer never counts as ended, and the model is asked for every block of `gen_length`: 125 passes for 6.
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

WORD, MASK, END, VOCABULARY = 1, 8, 9, 10


class Model(nn.Module):
    """Answers a prompt of four tokens with two words, and then the end."""

    device, dtype, passes = torch.device("cpu"), torch.float32, 0

    def forward(self, ids, attention_mask=None, position_ids=None):
        self.passes += 1
        wanted = torch.full(ids.shape, END)
        wanted[:, :6] = WORD
        return SimpleNamespace(logits=2 * nn.functional.one_hot(wanted, VOCABULARY).float())


def passes(prompt):
    model = Model()
    pipeline = LLaDA2Pipeline(model, BlockRefinementScheduler(), None)
    pipeline.set_progress_bar_config(disable=True)
    sizes = {"gen_length": 124, "block_length": 8, "num_inference_steps": 8}
    ids = {"eos_token_id": END, "mask_token_id": MASK}
    answer = pipeline(input_ids=torch.tensor([prompt]), temperature=0.0, output_type="seq", **sizes, **ids).sequences
    assert answer[0, :3].tolist() == [WORD, WORD, END]
    return model.passes


print("version:  diffusers", version("diffusers"), "with torch", version("torch"))
print("expected: as many passes for both prompts, since the answers are the same")
seen = {name: passes(prompt) for name, prompt in {"plain": [2, 3, 4, 5], "with an end": [2, END, 4, 5]}.items()}
for name, count in seen.items():
    print(f"seen:     {count} passes for the prompt {name}")
raise SystemExit(0 if seen == {"plain": 6, "with an end": 125} else 1)
PYTHON
