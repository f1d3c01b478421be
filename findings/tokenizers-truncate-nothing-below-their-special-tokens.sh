#!/usr/bin/env bash
# tokenizers 0.23.3.
# Guess: with `enable_truncation(max_length=n)` no encoding is longer than n, or than the special tokens where they alone are
#   more; or n below their number is an error.
# Instead: where n is less than the special tokens that are added, nothing is cut: a thousand words give 1,002 ids for a
#   limit of 1, and two for a limit of 2. Nothing is said. Without special tokens the limit of 1 holds.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tokenizers==0.23.3 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
from importlib.metadata import version

from tokenizers import Tokenizer, models, pre_tokenizers, processors

tokenizer = Tokenizer(models.WordLevel({"fox": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
)
TEXT = "fox " * 1000


def length(limit, **others):
    tokenizer.enable_truncation(limit)
    whole = len(tokenizer.encode(TEXT, **others))
    assert {whole} == {len(each) for each in tokenizer.encode_batch([TEXT, TEXT], **others)}
    return whole


lengths = {limit: length(limit) for limit in (3, 2, 1, 0)}
bare = length(1, add_special_tokens=False)
print("version:  tokenizers", version("tokenizers"))
print("expected: a limit of 3, 2, 1 and 0 gives 3 ids and then 2, or an error; 1 without special tokens")
print(f"seen:     {lengths}; {bare} without special tokens")
raise SystemExit(0 if lengths == {3: 3, 2: 2, 1: 1002, 0: 1002} and bare == 1 else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
