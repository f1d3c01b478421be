#!/usr/bin/env bash
# tokenizers 0.23.3.
# Guess: `add_tokens` gives a new token an id that no other token has, also where the ids of the vocabulary have a hole, as they
#   have after a token was taken out.
# Instead: the new id is the number of tokens. With a hole that is the last token's, and from then on both have it: a `[UNK]` is
#   read as `<mask>`, to which `decode` turns it. `get_vocab` lists the id twice, saving and loading keep it so, and nothing is said.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tokenizers==0.23.3 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
from importlib.metadata import version

from tokenizers import Tokenizer, models, pre_tokenizers


def with_mask(vocabulary):
    """A tokenizer of these words and their ids, to which a mask token was added, saved and loaded."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert tokenizer.add_special_tokens(["<mask>"]) == 1
    return Tokenizer.from_str(tokenizer.to_str())


def seen(vocabulary):
    """The id of the mask, who has it, and what a text with an unknown word comes back as."""
    tokenizer = with_mask(vocabulary)
    mask = tokenizer.token_to_id("<mask>")
    owners = sorted(word for word, number in tokenizer.get_vocab().items() if number == mask)
    return mask, owners, tokenizer.decode(tokenizer.encode("fox zebra").ids, skip_special_tokens=False)


whole = seen({"fox": 0, "hen": 1, "owl": 2, "[UNK]": 3})
holed = seen({"fox": 0, "hen": 1, "[UNK]": 3})
print("version:  tokenizers", version("tokenizers"))
print("expected: an id of its own for <mask>, and 'fox [UNK]' of 'fox zebra', with ids 0 to 3 and with 0, 1 and 3 alike")
print("seen:     ids 0 to 3:", whole)
print("          0, 1 and 3:", holed)
raise SystemExit(0 if whole == (4, ["<mask>"], "fox [UNK]") and holed == (3, ["<mask>", "[UNK]"], "fox <mask>") else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
