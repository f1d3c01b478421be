#!/usr/bin/env bash
# tokenizers 0.23.3.
# Guess: a trainer with the same texts in the same order gives the same tokenizer.json, as BpeTrainer does, whatever the number of threads.
# Instead: UnigramTrainer gives another file in each run, even on one thread. Its tokens are the same, but some change their
#   ids with each other, so that weights trained with one file read other words with the next.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tokenizers==0.23.3 || exit 2

RAYON_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
from pydoc_data.topics import topics

import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

RUNS = 8
texts = [topics[name] for name in sorted(topics)]


def trained(model, trainer):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


bpe = [trained(models.BPE(), trainers.BpeTrainer(vocab_size=800, show_progress=False)) for _ in range(RUNS)]
unigram = [trained(models.Unigram(), trainers.UnigramTrainer(vocab_size=800, show_progress=False)) for _ in range(RUNS)]
files = {name: len({each.to_str() for each in runs}) for name, runs in (("BPE", bpe), ("Unigram", unigram))}
vocabularies = [each.get_vocab() for each in unigram]
same_tokens = all(each.keys() == vocabularies[0].keys() for each in vocabularies)
moved = {token for each in vocabularies for token, id in vocabularies[0].items() if each.get(token) != id}
print(f"version:  tokenizers {tokenizers.__version__}")
print(f"expected: {RUNS} trainings with the same texts give 1 file")
print(f"seen:     BPE {files['BPE']}, Unigram {files['Unigram']} files; the same tokens: {same_tokens}; with another id in some run: {len(moved)}, e.g. {sorted(moved)[:4]}")
sys.exit(0 if files["BPE"] == 1 and files["Unigram"] > 1 and same_tokens and moved else 1)
PYTHON
