#!/usr/bin/env bash
# diffusers 0.42.1 with transformers 5.23.0 and 5.24.0 (and torch 2.13.0).
# Guess: DiffusionGemmaPipeline of the newest diffusers runs a DiffusionGemma of the newest transformers; diffusers names no upper bound.
# Instead: with 5.24.0 every call ends with a TypeError before the first step: the method of the decoder that makes its mask calls the
#   argument `cache` now, which was `past_key_values` up to 5.23.0. With 5.23.0 the same call gives a text.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat >"$folder/ask.py" <<'PYTHON'
from importlib.metadata import version

import torch
from diffusers import DiffusionGemmaPipeline, EntropyBoundScheduler
from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion, DiffusionGemmaTextConfig

torch.set_num_threads(1)
torch.manual_seed(0)


class Processor:
    eos_token_id = None

    def apply_chat_template(self, messages, **asked):
        return {"input_ids": torch.tensor([[2, 5, 6, 7]])}


text = DiffusionGemmaTextConfig(
    vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
    head_dim=8, global_head_dim=8, num_experts=2, top_k_experts=1, moe_intermediate_size=8,
    layer_types=["sliding_attention", "full_attention"],
)
config = DiffusionGemmaConfig(text_config=text, canvas_length=8, boi_token_id=60, eoi_token_id=61, image_token_id=62)
pipeline = DiffusionGemmaPipeline(DiffusionGemmaForBlockDiffusion(config).eval(), EntropyBoundScheduler(), Processor())
pipeline.set_progress_bar_config(disable=True)
try:
    answer = f"{pipeline('x', gen_length=8, num_inference_steps=2, output_type='seq').sequences.shape[1]} tokens"
except TypeError as error:
    answer = f"TypeError: {error}"
print(f"diffusers {version('diffusers')} with transformers {version('transformers')} and torch {torch.__version__}: {answer}")
PYTHON

seen=""
for release in 5.23.0 5.24.0; do
    "$folder/venv/bin/pip" install --quiet diffusers==0.42.1 torch==2.13.0 "transformers==$release" numpy==2.4.6 || exit 2
    seen+="$("$folder/venv/bin/python" "$folder/ask.py" 2>/dev/null)"$'\n'
done
echo "expected: 8 tokens with both"
echo "seen:"
echo "$seen"
grep -q "5.23.0.*: 8 tokens" <<<"$seen" && grep -q "5.24.0.*TypeError.*past_key_values" <<<"$seen"
