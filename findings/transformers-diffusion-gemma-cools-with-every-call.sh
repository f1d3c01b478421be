#!/usr/bin/env bash
# transformers 5.24.0 with torch 2.13.0.
# Guess: `generate` of DiffusionGemma leaves a list of logits processors that it is given as it was, as `generate` of other models does, so
#   that the same call with the same seed gives the same tokens.
# Instead: it appends its own processor of the temperature to the caller's list, and to a list of stopping criteria its own of those. Where a
#   list is kept for the next call the logits are divided once more each time, by temperatures below 1: with a list given four times,
#   empty at first, logits of 1 are 33 in the last step, not 2.4; entropies fall, and the tokens change. Nothing is said.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.24.0 torch==2.13.0 numpy==2.4.6 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
from importlib.metadata import version

import torch
from transformers import (
    DiffusionGemmaConfig,
    DiffusionGemmaForBlockDiffusion,
    DiffusionGemmaTextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    StoppingCriteriaList,
)

torch.set_num_threads(1)
torch.manual_seed(0)
SIZES = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8,
}
text = DiffusionGemmaTextConfig(
    **SIZES, global_head_dim=8, num_experts=2, top_k_experts=1, moe_intermediate_size=8,
    layer_types=["sliding_attention", "full_attention"],
)
config = DiffusionGemmaConfig(text_config=text, canvas_length=8, boi_token_id=60, eoi_token_id=61, image_token_id=62)
gemma, llama = DiffusionGemmaForBlockDiffusion(config).eval(), LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
prompt = torch.tensor([[2, 5, 6, 7]])


def calls(model, **asked):
    """How many processors and criteria the same two lists have after each of four calls, the tokens, and the first list."""
    processors, criteria, counts, tokens = LogitsProcessorList(), StoppingCriteriaList(), [], []
    for _ in range(4):
        torch.manual_seed(1)
        given = model.generate(
            prompt, max_new_tokens=8, logits_processor=processors, stopping_criteria=criteria, eos_token_id=1, **asked
        )
        counts.append((len(processors), len(criteria)))
        tokens.append(getattr(given, "sequences", given)[0, prompt.shape[1]:].tolist())
    return counts, tokens, processors


counts, tokens, processors = calls(gemma, max_denoising_steps=24)
others, same, _ = calls(llama, do_sample=True, temperature=0.5, pad_token_id=0)
scale = processors(prompt, torch.ones(1), cur_step=torch.tensor(1)).item()
print("version:  transformers", version("transformers"), "with torch", torch.__version__)
print("expected: both lists stay empty, and the same seed gives the same tokens")
print(f"seen:     after each call processors and criteria: {counts} (Llama: {others}); logits of 1 are then {scale:.1f} at the last step")
for each in tokens:
    print("          ", each)
is_other = tokens[0] != tokens[-1] and all(each == same[0] for each in same)
is_grown = counts == [(1, 1), (2, 2), (3, 3), (4, 4)] and set(others) == {(0, 0)}
raise SystemExit(0 if is_grown and is_other and round(scale) == 33 else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py" 2>"$folder/said" || { cat "$folder/said" >&2; exit 1; }
