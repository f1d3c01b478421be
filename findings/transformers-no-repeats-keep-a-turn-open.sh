#!/usr/bin/env bash
# transformers 5.24.0 (with torch 2.13.0).
# Guess: `no_repeat_ngram_size` keeps `generate` from repeating itself; the end of the text may stand behind any token.
# Instead: the runs of the prompt count too, and so does the end in them. Behind a conversation in which an earlier turn ended with
#   "Yes." and the end of the turn, the new answer "Yes." cannot end there, however sure the model is of its end, and goes on.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.24.0 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

transformers.logging.set_verbosity_error()
END, QUESTION, YES, STOP = 1, [10, 11, 12], 5, 6
shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=32, eos_token_id=END, pad_token_id=0, **shape))
conversation = torch.tensor([[*QUESTION, YES, STOP, END, *QUESTION, YES, STOP]])


def written(**asked: object) -> list[int]:
    """What is written behind the second "Yes." by a model that is sure of the end everywhere."""
    ids = model.generate(conversation, max_new_tokens=5, do_sample=False, sequence_bias={(END,): 100.0}, **asked)
    return ids[0, conversation.shape[1] :].tolist()


plain, without_repeats = written(), written(no_repeat_ngram_size=3)
print(f"version:  transformers {transformers.__version__}, torch {torch.__version__}")
print(f"expected: the end at once, [{END}], with no_repeat_ngram_size and without")
print(f"seen:     without: {plain}; with no_repeat_ngram_size=3: {without_repeats}")
sys.exit(0 if plain == [END] and without_repeats[0] != END else 1)
PYTHON
