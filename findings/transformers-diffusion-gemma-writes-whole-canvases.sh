#!/usr/bin/env bash
# transformers 5.24.0 with torch 2.13.0.
# Guess: `generate` of DiffusionGemma gives no more than `max_new_tokens` tokens, "the maximum number of tokens to generate", and no
#   longer a sequence than `max_length`; its last canvas is cut.
# Instead: the length is rounded up to whole canvases, and nothing is cut: with a canvas of 8 as with the released model's 256 one token
#   asked for gives a canvas of them, up to the end token if there is one. Nothing is said. `tokens_per_forward` counts them all.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.4.6 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
from importlib.metadata import version

import torch
from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion, DiffusionGemmaTextConfig

torch.set_num_threads(1)
torch.manual_seed(0)
text = DiffusionGemmaTextConfig(
    vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
    head_dim=8, global_head_dim=8, num_experts=2, top_k_experts=1, moe_intermediate_size=8,
    layer_types=["sliding_attention", "full_attention"],
)
config = DiffusionGemmaConfig(text_config=text, canvas_length=8, boi_token_id=60, eoi_token_id=61, image_token_id=62)
model = DiffusionGemmaForBlockDiffusion(config).eval()
prompt = torch.tensor([[2, 5, 6, 7]])


def length(**asked):
    """The number of new tokens; there is no end token."""
    sequences = model.generate(prompt, max_denoising_steps=3, **asked).sequences
    return sequences.shape[1] - prompt.shape[1]


new = {asked: length(max_new_tokens=asked) for asked in (1, 7, 8, 9)}
whole = length(max_length=6) + prompt.shape[1]
print("version:  transformers", version("transformers"), "with torch", torch.__version__)
print("expected: as many tokens as max_new_tokens (1, 7, 8, 9), and 6 for a max_length of 6")
print(f"seen:     {new}, and {whole} for a max_length of 6")
raise SystemExit(0 if new == {1: 8, 7: 8, 8: 8, 9: 16} and whole == 12 else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py" 2>"$folder/said" || { cat "$folder/said" >&2; exit 1; }
! grep -qi "max_new_tokens\|max_length\|canvas" "$folder/said" || { echo "transformers now says something:"; cat "$folder/said"; exit 1; }
