#!/usr/bin/env bash
# safetensors 0.8.0 with torch 2.13.0, accelerate 1.15.0 and transformers 5.24.0.
# Guess: of a head that is the embedding, whatever writes safetensors leaves the head out and keeps the embedding, as
#   published checkpoints do.
# Instead: `safetensors.torch.save_model` keeps the name that comes first in the alphabet, so `lm_head.weight`, and the file has no
#   `model.embed_tokens.weight`. transformers' `save_pretrained` and accelerate's `save_model` keep the embedding. transformers
#   reads either file.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 safetensors==0.8.0 accelerate==1.15.0 transformers==5.24.0 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file, save_model
from transformers import Qwen3Config, Qwen3ForCausalLM

CONFIG = Qwen3Config(
    vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, head_dim=4, tie_word_embeddings=True,
)
PAIR = {"lm_head.weight", "model.embed_tokens.weight"}
folder = Path(sys.argv[1])
model = Qwen3ForCausalLM(CONFIG)


def kept(write):
    """The names of the pair that are in the file."""
    path = folder / "model.safetensors"
    path.unlink(missing_ok=True)
    write(path)
    return sorted(PAIR & load_file(path).keys())


names = {
    "transformers": kept(lambda path: model.save_pretrained(folder)),
    "accelerate": kept(lambda path: Accelerator(cpu=True).save_model(model, folder)),
    "safetensors": kept(lambda path: save_model(model, path)),
}
save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", metadata={"format": "pt"})
read = Qwen3ForCausalLM.from_pretrained(folder)
is_read = torch.equal(read.model.embed_tokens.weight, model.model.embed_tokens.weight)
print("version: ", ", ".join(f"{name} {version(name)}" for name in ("torch", *names)))
print("expected: each keeps model.embed_tokens.weight alone")
print("seen:    ", names, "- transformers reads the last:", is_read)
embedding = ["model.embed_tokens.weight"]
as_described = names == {"transformers": embedding, "accelerate": embedding, "safetensors": ["lm_head.weight"]} and is_read
raise SystemExit(0 if as_described else 1)
PYTHON
mkdir "$folder/model"
"$folder/venv/bin/python" "$folder/ask.py" "$folder/model" 2>"$folder/said" || { cat "$folder/said"; exit 1; }
