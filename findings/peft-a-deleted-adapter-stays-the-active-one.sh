#!/usr/bin/env bash
# peft 0.21.2, with torch 2.13.0 and transformers 5.24.0, on the processor.
# Guess: after `delete_adapter` of the active adapter the model answers by the adapter that peft's warning names as the new active
#   one; and an adapter loaded by the deleted name answers as one that was loaded first.
# Instead: where the other adapter has other `target_modules`, `active_adapter` still names the deleted one, and the next forward pass
#   ends with a KeyError of its name. With no other left, an adapter that is loaded anew by the same name adds nothing: the base
#   answers, and nothing is said. `set_adapter` by hand puts both right.
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
from transformers import Qwen2Config, Qwen2ForCausalLM

torch.set_num_threads(1)
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
INPUT = torch.arange(8)[None]
SIZES = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}


def base():
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, num_attention_heads=2, num_key_value_heads=2)).eval()


def logits(model):
    with torch.no_grad():
        return model(INPUT).logits


def saved(module):
    config = LoraConfig(r=2, lora_alpha=64, target_modules=[module], init_lora_weights=False, task_type="CAUSAL_LM")
    model, where = get_peft_model(base(), config).eval(), tempfile.mkdtemp()
    model.save_pretrained(where)
    return where, logits(model)


(first, old), (second, new), plain = saved("up_proj"), saved("down_proj"), logits(base())


def answer(model):
    try:
        found = logits(model)
    except KeyError as error:
        return f"KeyError {error}"
    return next(name for name, each in {"first": old, "second": new, "base": plain}.items() if torch.allclose(found, each))


def loaded():
    return PeftModel.from_pretrained(base(), first, adapter_name="one").eval()


assert not torch.allclose(old, plain) and not torch.allclose(new, plain) and not torch.allclose(old, new)
both = loaded()
both.load_adapter(second, "two")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    both.delete_adapter("one")
promises = [str(each.message) for each in said if "active" in str(each.message)]
left = [both.active_adapter, answer(both)]
both.set_adapter("two")
left.append(answer(both))

again = loaded()
again.delete_adapter("one")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always", UserWarning)
    again.load_adapter(second, "one")
anew = [again.active_adapter, answer(again), sum("adapter" in str(each.message) for each in said)]
again.set_adapter("one")
anew.append(answer(again))

print("version:  peft", version("peft"), "with torch", torch.__version__)
print("expected: the second adapter's answer")
print(f"seen:     one deleted and two left: {promises}; active_adapter {left[0]}, answer: {left[1]}; after set_adapter: {left[2]}")
print(f"          loaded anew as one: active_adapter {anew[0]}, answer: {anew[1]}, {anew[2]} warnings; after set_adapter: {anew[3]}")
is_stale = left == ["one", "KeyError 'one'", "second"] and anew == ["one", "base", 0, "second"]
raise SystemExit(0 if is_stale and promises and promises[0].endswith("Setting active adapter to two.") else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
