#!/usr/bin/env bash
# xgrammar 0.2.9 (with torch 2.13.0), with jsonschema 4.26.0.
# Guess: what a matcher of a JSON schema accepts is valid by the schema, or there is a warning that a keyword is not supported, as there is
#   for `multipleOf` of numbers and for `pattern` beside a length.
# Instead: without a word a name in `required` that is not in `properties` may be left out, even where `additionalProperties` has a schema for
#   it; and keywords beside `$ref`, `anyOf` and `enum` are passed over, and so are `contains`, `not` and `dependentRequired`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet xgrammar==0.2.9 torch==2.13.0 transformers==5.24.0 numpy==2.4.6 jsonschema==4.26.0 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
import json
from importlib.metadata import version

import xgrammar
from jsonschema import Draft202012Validator

INTEGER, OBJECT = {"type": "integer"}, {"type": "object"}
TEXTS = (
    ({**OBJECT, "properties": {"a": INTEGER}, "required": ["a"]}, "{}"),
    ({**OBJECT, "required": ["a"]}, "{}"),
    ({**OBJECT, "properties": {"a": INTEGER}, "required": ["b"], "additionalProperties": INTEGER}, '{"a": 1}'),
    ({"$defs": {"count": INTEGER}, **OBJECT, "properties": {"a": {"$ref": "#/$defs/count", "minimum": 5}}}, '{"a": 3}'),
    ({"anyOf": [INTEGER, {"type": "null"}], "minimum": 5}, "3"),
    ({"enum": [1, 2, 3], "minimum": 2}, "1"),
    ({"type": "array", "items": INTEGER, "contains": {"const": 3}}, "[1]"),
    ({"not": INTEGER}, "1"),
    ({**OBJECT, "properties": {"a": INTEGER, "b": INTEGER}, "dependentRequired": {"a": ["b"]}}, '{"a": 1}'),
)
END = 256
tokens = xgrammar.TokenizerInfo([bytes([each]) for each in range(256)] + [b"</s>"], stop_token_ids=[END])
compiler = xgrammar.GrammarCompiler(tokens, max_threads=1)


def is_accepted(schema, text):
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema), strict_mode=False))
    return matcher.accept_string(text) and matcher.accept_token(END)


print("version:  xgrammar", version("xgrammar"), "with jsonschema", version("jsonschema"))
print("expected: what is not valid is refused, or a warning")
seen = []
for schema, text in TEXTS:
    assert not Draft202012Validator(schema).is_valid(json.loads(text))
    seen.append(is_accepted(schema, text))
    print(f"seen:     {json.dumps(schema)}: {text} is {'accepted' if seen[-1] else 'refused'}")
raise SystemExit(0 if seen == [False] + [True] * 8 else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py" 2>"$folder/said"
! grep -qi "warning" "$folder/said" || { echo "xgrammar now warns:"; cat "$folder/said"; exit 1; }
