#!/usr/bin/env bash
# transformers 5.24.0 and 4.57.6, with tokenizers.
# Guess: `AutoTokenizer` reads a folder's `tokenizer.json` as it stands, whatever `tokenizer_class` says in the file beside it.
# Instead: for `Qwen2Tokenizer` transformers 5 takes vocabulary and merges alone, and cuts and normalises as Qwen2 does: of a
#   tokenizer that splits as GPT-2 does the ids are others, and a text with a combining accent does not come back. Nothing is
#   said. The same file under `PreTrainedTokenizerFast` gives its own ids, and so does transformers 4 under either name.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for release in 4.57.6 5.24.0; do
    python3 -m venv "$folder/$release"
    "$folder/$release/bin/pip" install --quiet "transformers==$release" || exit 2
done

cat >"$folder/ask.py" <<'PYTHON'
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

TEXT = "x = 12345 + 678  # cafe\u0301"
ALPHABET = pre_tokenizers.ByteLevel.alphabet()

own = Tokenizer(models.BPE())
own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
own.decoder = decoders.ByteLevel()
own.train_from_iterator([TEXT] * 20, trainers.BpeTrainer(vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=ALPHABET))
expected = own.encode(TEXT).ids


def seen(name):
    """Whether the ids are the file's, and whether they give the text back."""
    folder = Path(tempfile.mkdtemp())
    own.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, "eos_token": "<|end|>"}))
    loaded = AutoTokenizer.from_pretrained(folder)
    ids = loaded(TEXT, add_special_tokens=False)["input_ids"]
    return ids == expected, loaded.decode(ids, clean_up_tokenization_spaces=False) == TEXT


results = {name: seen(name) for name in ("PreTrainedTokenizerFast", "Qwen2Tokenizer")}
print("version:  transformers", version("transformers"), "with tokenizers", version("tokenizers"))
print("expected: the ids of tokenizer.json, and the text back: True, True for both names")
print("seen:    ", results)
qwen = (False, False) if version("transformers").startswith("5.") else (True, True)
raise SystemExit(0 if results == {"PreTrainedTokenizerFast": (True, True), "Qwen2Tokenizer": qwen} else 1)
PYTHON
export TMPDIR="$folder"
for release in 4.57.6 5.24.0; do
    "$folder/$release/bin/python" "$folder/ask.py" 2>"$folder/said" || exit 1
done
! grep -qi "qwen2tokenizer" "$folder/said" || { echo "transformers now says something:"; cat "$folder/said"; exit 1; }
