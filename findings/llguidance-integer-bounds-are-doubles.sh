#!/usr/bin/env bash
# llguidance 1.9.1, with jsonschema 4.26.0.
# Guess: bounds of integers hold to the last digit, as JSON schemas have integers of any size and a matcher compares digits.
# Instead: a bound above 2^53 is read as a double, and its neighbour passes: 9007199254740992 for a minimum of 9007199254740993.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet llguidance==1.9.1 jsonschema==4.26.0 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

from jsonschema import Draft202012Validator
from llguidance import LLMatcher, LLTokenizer

CASES = (
    ({"minimum": 9007199254740991}, "9007199254740990"),
    ({"minimum": 9007199254740993}, "9007199254740992"),
    ({"maximum": 1152921504606846975}, "1152921504606846976"),
)
tokenizer = LLTokenizer("byte")


def is_accepted(schema, text):
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    assert not matcher.is_error(), matcher.get_error()
    tokens = tokenizer.tokenize_bytes(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


print("version:  llguidance", version("llguidance"), "with jsonschema", version("jsonschema"))
print("expected: none of these is accepted, for none is valid")
seen = []
for bounds, text in CASES:
    schema = {"type": "integer", **bounds}
    assert not Draft202012Validator(schema).is_valid(int(text))
    seen.append(is_accepted(schema, text))
    print(f"seen:     {bounds}: {text} is {'accepted' if seen[-1] else 'refused'}")
raise SystemExit(0 if seen == [False, True, True] else 1)
PYTHON
