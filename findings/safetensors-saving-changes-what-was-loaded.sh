#!/usr/bin/env bash
# safetensors 0.7.0 and 0.8.0, with torch 2.13.0.
# Guess: `load_file` gives tensors of one's own; saving other weights under the same name later does not concern them.
# Instead: up to 0.7.0 a tensor that `load_file` or `safe_open` gave on a CPU is the mapped file, and `save_file` writes
#   into that very file: the tensor in memory has the new numbers afterwards. 0.8.0 writes a new file in its place, and
#   what was loaded stays. So whether a training run changes the model that another process serves from the same folder
#   depends on the version that saves.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"

saved_over() {
    "$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy packaging "safetensors==$1" || exit 2
    "$folder/venv/bin/python" - "$folder/weights.safetensors" <<'PYTHON'
import os
import sys

import safetensors
import torch
from safetensors.torch import load_file, save_file

path = sys.argv[1]
save_file({"weight": torch.zeros(4)}, path)
number, loaded = os.stat(path).st_ino, load_file(path)["weight"]
save_file({"weight": torch.ones(4)}, path)
where = "the same file" if os.stat(path).st_ino == number else "a new file"
print(f"safetensors {safetensors.__version__} saves into {where}; loaded before: zeros, now: {loaded.tolist()}")
PYTHON
}

echo "expected: what was loaded stays zeros"
old=$(saved_over 0.7.0)
new=$(saved_over 0.8.0)
printf 'seen: %s\nseen: %s\n' "$old" "$new"
[[ $old == *"0.7.0 saves into the same file"*"[1.0, 1.0, 1.0, 1.0]" ]] || exit 1
[[ $new == *"0.8.0 saves into a new file"*"[0.0, 0.0, 0.0, 0.0]" ]] || exit 1
