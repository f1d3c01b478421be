#!/usr/bin/env bash
# peft 0.21.2, with torch 2.13.0 and transformers 5.24.0, on the processor.
# Guess: `load_adapter(folder, "default")`, where an adapter "default" is loaded already, puts the folder's adapter in its place, as
#   for one that was trained further, or is refused, as a folder with another rank is.
# Instead: the tensors are replaced, and the settings stay: an adapter with another `lora_alpha` answers with the old scale, and of one
#   with other `target_modules` nothing is taken at all: the old adapter goes on answering. Nothing is said.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet peft==0.21.2 torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 numpy==2.4.6 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
import tempfile
import warnings
from importlib.metadata import version

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

torch.set_num_threads(1)
INPUT = torch.linspace(-1, 1, 8)[None]


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, rows):
        return self.down(self.up(rows).relu())


def saved(seed, **settings):
    base, where = Base(), tempfile.mkdtemp()
    torch.manual_seed(seed)
    config = LoraConfig(**{"r": 2, "lora_alpha": 2, "target_modules": ["up"], "init_lora_weights": False, **settings})
    model = get_peft_model(base, config).eval()
    model.save_pretrained(where)
    return where, model(INPUT)


def loaded(first, second):
    model = PeftModel.from_pretrained(Base(), first).eval()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.load_adapter(second, "default")
    return model, [str(each.message) for each in said]


def kind(answer, **known):
    return next((name for name, each in known.items() if torch.allclose(answer, each, atol=1e-6)), "neither")


first, old = saved(1)
cases = {"other tensors": {}, "another lora_alpha": {"lora_alpha": 32}, "other target_modules": {"target_modules": ["down"]}}
print("version:  peft", version("peft"), "with torch", torch.__version__)
print("expected: the new adapter's answer, or an error")
seen = {}
for name, settings in cases.items():
    second, new = saved(2, **settings)
    model, said = loaded(first, second)
    seen[name] = kind(model(INPUT), new=new, old=old), len(said)
    alpha, modules = model.peft_config["default"].lora_alpha, sorted(model.peft_config["default"].target_modules)
    print(f"seen:     {name}: the answer is {seen[name][0]}; lora_alpha {alpha}, target_modules {modules}; {len(said)} warnings")
try:
    loaded(first, saved(2, r=4)[0])
    rank = "nothing"
except RuntimeError as error:
    rank = str(error).splitlines()[1].strip().split(":")[0]
print(f"          another rank: {rank}")
answers = {"other tensors": ("new", 0), "another lora_alpha": ("neither", 0), "other target_modules": ("old", 0)}
raise SystemExit(0 if seen == answers and rank.startswith("size mismatch") else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
