#!/usr/bin/env bash
# lm-format-enforcer 0.11.3.
# Guess: what `JsonSchemaParser` lets a model write to its end can be parsed as JSON, whatever keywords it passes over.
# Instead: a comma may stand before the closing brace of an object, and an exponent right behind a decimal point: neither is
#   JSON, and json.loads fails. Of the same texts without that, and of arrays, it is as strict as JSON.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet lm-format-enforcer==0.11.3 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

from lmformatenforcer import JsonSchemaParser

OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
    "additionalProperties": False,
}
LIST = {"type": "array", "items": {"type": "boolean"}}
CASES = [
    (OBJECT, '{"b":true}'),
    (OBJECT, '{"b":true,}'),
    (LIST, "[true,]"),
    ({"type": "number"}, "5.0e3"),
    ({"type": "number"}, "5.e3"),
]


def is_let_through(schema, text):
    parser = JsonSchemaParser(schema)
    for character in text:
        if character not in parser.get_allowed_characters():
            return False
        parser = parser.add_character(character)
    return parser.can_end()


def is_json(text):
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


seen = [(text, is_let_through(schema, text), is_json(text)) for schema, text in CASES]
print("version:  lm-format-enforcer", version("lm-format-enforcer"))
print("expected: a text is let through exactly if it is JSON")
print("seen:    ", "; ".join(f"{text}  let through: {let}, JSON: {json}" for text, let, json in seen))
raise SystemExit(0 if [let for _, let, _ in seen] == [True, True, False, True, True] else 1)
PYTHON
