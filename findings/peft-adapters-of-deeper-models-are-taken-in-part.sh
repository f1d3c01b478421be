#!/usr/bin/env bash
# peft 0.21.2, with torch 2.13.0 and transformers 5.24.0, on the processor.
# Guess: an adapter that has tensors for layers which the base lacks is refused, or there is a warning, as there is for one that lacks
#   tensors of layers which the base has.
# Instead: the adapter of a model of eight layers is loaded into one of four without a word, and half of it is dropped. Only the return
#   value of `load_adapter` lists the tensors; `PeftModel.from_pretrained` returns the model alone.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet peft==0.21.2 torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 numpy==2.4.6 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
import logging
import tempfile
import warnings
from importlib.metadata import version

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

torch.set_num_threads(1)


class Log(logging.Handler):
    lines: list[str] = []

    def emit(self, record):
        self.lines.append(record.getMessage())


class Base(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(layers))


def saved(layers):
    where = tempfile.mkdtemp()
    get_peft_model(Base(layers), LoraConfig(r=2, target_modules=r"layers\.\d+")).save_pretrained(where)
    return where


def loading(adapter, layers):
    Log.lines.clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(Base(layers), adapter)
    return model, [*Log.lines, *(str(each.message) for each in said)]


logging.getLogger().addHandler(Log())
deep, flat = saved(8), saved(4)
model, deep_words = loading(deep, 4)
_, flat_words = loading(flat, 8)
report = model.load_adapter(deep, "again")
print("version:  peft", version("peft"), "with torch", torch.__version__)
print("expected: a word about surplus tensors, as about missing ones")
print(f"seen:     of four layers into eight: {[each[:60] for each in flat_words]}")
print(f"          of eight layers into four: {deep_words}, and load_adapter returns {len(report.unexpected_keys)} names")
has_silence = deep_words == [] and any("missing adapter keys" in each for each in flat_words)
raise SystemExit(0 if has_silence and len(report.unexpected_keys) == 8 else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
