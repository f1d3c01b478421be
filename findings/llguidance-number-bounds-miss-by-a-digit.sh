#!/usr/bin/env bash
# llguidance 1.9.1, with jsonschema 4.26.0.
# Guess: between `minimum` and `maximum` a matcher takes each number that has no exponent, however many of its digits are those of a
#   bound; an exclusive bound itself it refuses.
# Instead: a bound's first digits alone are refused: with the maximum 9.99 there is 9.90, and no 9.9. And where both bounds have the
#   same digits before the point, those alone are accepted, though the bound is exclusive: 0 is above 0 and below 0.5.
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
    ({"minimum": 0, "maximum": 9.99}, "9.90", True),
    ({"minimum": 0, "maximum": 9.99}, "9.9", False),
    ({"minimum": 0, "maximum": 0.75}, "0.7", False),
    ({"minimum": -90.25, "maximum": 90}, "-90.2", False),
    ({"exclusiveMinimum": 0, "maximum": 1}, "0", False),
    ({"exclusiveMinimum": 0, "exclusiveMaximum": 0.5}, "0", True),
    ({"exclusiveMinimum": 1, "maximum": 1.5}, "1", True),
)
tokenizer = LLTokenizer("byte")


def is_accepted(schema, text):
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_json_schema(json.dumps(schema)))
    assert not matcher.is_error(), matcher.get_error()
    tokens = tokenizer.tokenize_bytes(text.encode())
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


print("version:  llguidance", version("llguidance"), "with jsonschema", version("jsonschema"))
print("expected: what is valid is accepted, and what is not is refused")
seen = []
for bounds, text, _ in CASES:
    schema = {"type": "number", **bounds}
    seen.append(is_accepted(schema, text))
    is_valid = Draft202012Validator(schema).is_valid(json.loads(text))
    print(f"seen:     {bounds}: {text} is {'' if is_valid else 'not '}valid, and {'accepted' if seen[-1] else 'refused'}")
raise SystemExit(0 if seen == [is_said for _, _, is_said in CASES] else 1)
PYTHON
