#!/usr/bin/env bash
# diffusers 0.42.1 (with torch 2.13.0 and transformers 5.23.0).
# Guess: DiffusionGemmaPipeline with EntropyBoundScheduler, the sampler of the released checkpoint, answers with what the model
#   thinks likeliest where the steps end before it is sure, as `generate` of transformers does with the same sampler.
# Instead: a step replaces every token that it is not sure of by a random one, the last step too, and the pipeline keeps that canvas. Of
#   an unsure model's text nearly all is drawn evenly from the vocabulary. With enough steps, or BlockRefinementScheduler or
#   DiscreteDDIMScheduler, whose last steps write every place, there is none of it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet diffusers==0.42.1 torch==2.13.0 transformers==5.23.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
from importlib.metadata import version

import torch
from diffusers import BlockRefinementScheduler, DiffusionGemmaPipeline, DiscreteDDIMScheduler, EntropyBoundScheduler
from torch import nn
from transformers import DiffusionGemmaConfig, DiffusionGemmaForBlockDiffusion, DiffusionGemmaTextConfig

torch.set_num_threads(1)
torch.manual_seed(0)
PROMPT, CANVAS, VOCABULARY, LIKELY, STEPS = [2, 5, 6, 7], 32, 256, 8, 6


class Processor:
    eos_token_id = None

    def apply_chat_template(self, messages, **asked):
        return {"input_ids": torch.tensor([PROMPT])}


def tiny_model():
    """A DiffusionGemma with random weights, whose head gives a few tokens nearly all of the probability, evenly."""
    text = DiffusionGemmaTextConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, global_head_dim=8, num_experts=2, top_k_experts=1, moe_intermediate_size=8,
        layer_types=["sliding_attention", "full_attention"],
    )
    config = DiffusionGemmaConfig(text_config=text, canvas_length=CANVAS, boi_token_id=60, eoi_token_id=61, image_token_id=62)
    return DiffusionGemmaForBlockDiffusion(config).eval()


class Unsure(nn.Module):
    """Adds to the logits of the first tokens, so that they are likely everywhere."""

    def forward(self, hidden):
        logits = self.head(hidden)
        return logits + 12.0 * (torch.arange(VOCABULARY) < LIKELY)

    def __init__(self, head):
        super().__init__()
        self.head = head

    @property
    def weight(self):
        return self.head.weight


model = tiny_model()
model.lm_head = Unsure(model.lm_head)


def strangers(sequences):
    """The tokens of a text that the model thinks next to impossible."""
    return int((sequences >= LIKELY).sum())


seen = {}
for scheduler in (EntropyBoundScheduler(), BlockRefinementScheduler(), DiscreteDDIMScheduler()):
    pipeline = DiffusionGemmaPipeline(model, scheduler, Processor())
    pipeline.set_progress_bar_config(disable=True)
    answer = pipeline("x", gen_length=CANVAS, num_inference_steps=STEPS, temperature=1.0, output_type="seq")
    seen[type(scheduler).__name__] = strangers(answer.sequences)
reference = model.generate(torch.tensor([PROMPT]), max_new_tokens=CANVAS, max_denoising_steps=STEPS)
seen["generate of transformers"] = strangers(reference.sequences[:, len(PROMPT) :])

print("version:  diffusers", version("diffusers"), "with torch", torch.__version__, "and transformers", version("transformers"))
print(f"expected: none of {CANVAS} tokens that the model thinks next to impossible")
for name, count in seen.items():
    print(f"seen:     {count:2} by {name}")
raise SystemExit(0 if seen.pop("EntropyBoundScheduler") > CANVAS // 2 and max(seen.values()) <= 1 else 1)
PYTHON
