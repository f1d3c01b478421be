#!/usr/bin/env bash
# outlines-core 0.2.14, beside jsonschema 4.26.0.
# Guess: `pattern` means what JSON Schema says, a search: by {"pattern": "b"} the string "abc" is valid, and is generated.
# Instead: the pattern has to match the whole string. Valid strings can never be written, and a model that wants to write
#   one is turned elsewhere; `^` and `$` at the ends are taken away without a word.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet outlines-core==0.2.14 jsonschema==4.26.0 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import json
import re
import sys

from jsonschema import Draft202012Validator
from outlines_core.json_schema import build_regex_from_schema

seen = {}
for pattern in ("b", "^b$"):
    schema = {"type": "string", "pattern": pattern}
    expression = build_regex_from_schema(json.dumps(schema))
    for text in ('"b"', '"abc"'):
        matches = re.fullmatch(expression, text) is not None
        valid = Draft202012Validator(schema).is_valid(json.loads(text))
        seen[pattern, text] = matches, valid
        print(f"pattern {pattern!r} becomes {expression!r}; {text} matches: {matches}, is valid: {valid}")
expected = {
    ("b", '"b"'): (True, True),
    ("b", '"abc"'): (False, True),
    ("^b$", '"b"'): (True, True),
    ("^b$", '"abc"'): (False, False),
}
sys.exit(0 if seen == expected else 1)
PYTHON
