#!/usr/bin/env bash
# torchao 0.18.0 (with torch 2.13.0).
# Guess: int8 weights take a quarter of float32's, also in a model whose head is its embedding: the two stay one, or the head, which is
#   the embedding, is left as it is.
# Instead: `quantize_` gives the head a second, int8 copy beside the embedding, without a word. They are no longer tied, and the model
#   is larger than before: here 1.2 times.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torchao==0.18.0 torch==2.13.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import io
from importlib.metadata import version

import torch
from torch import nn
from torchao.quantization import Int8WeightOnlyConfig, quantize_


class Model(nn.Module):
    def __init__(self, *, tied):
        super().__init__()
        self.embedding, self.layer = nn.Embedding(4096, 256), nn.Linear(256, 256)
        self.head = nn.Linear(256, 4096, bias=False)
        if tied:
            self.head.weight = self.embedding.weight


def size(model):
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return len(file.getvalue())


print("version:  torchao", version("torchao"), "with torch", version("torch"))
print("expected: neither model is larger afterwards, and a tied one stays tied")
seen = {}
for tied in (True, False):
    model = Model(tied=tied)
    before = size(model)
    quantize_(model, Int8WeightOnlyConfig())
    seen[tied] = round(size(model) / before, 1), model.head.weight is model.embedding.weight
    name = "tied" if tied else "untied"
    print(f"seen:     {name}: {seen[tied][0]} times as large, {'still' if seen[tied][1] else 'not'} tied afterwards")
raise SystemExit(0 if seen == {True: (1.2, False), False: (0.6, False)} else 1)
PYTHON
