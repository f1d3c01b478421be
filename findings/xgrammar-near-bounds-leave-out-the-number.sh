#!/usr/bin/env bash
# xgrammar 0.2.9 (with torch 2.13.0), with jsonschema 4.26.0.
# Guess: a number between bounds that are nearer to each other than 1e-6 has as many decimals as that takes, or the schema is refused,
#   as it is where no number can lie between them.
# Instead: the grammar compiles without a word, and the number becomes the empty text, so that the only object it accepts is no JSON:
#   {"share": }. It knows numbers of up to six decimals only.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet xgrammar==0.2.9 torch==2.13.0 transformers==5.24.0 numpy==2.4.6 jsonschema==4.26.0 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version

import xgrammar
from jsonschema import Draft202012Validator

SMALL, NEAR = {"exclusiveMinimum": 0, "exclusiveMaximum": 1e-7}, {"minimum": 0.1234567, "maximum": 0.1234568}
CASES = (
    ({"exclusiveMinimum": 0, "maximum": 1e-6}, '{"share": 0.000001}', True),
    (SMALL, '{"share": 0.00000005}', False),
    (SMALL, '{"share": }', True),
    (NEAR, '{"share": 0.1234567}', False),
    (NEAR, '{"share": }', True),
)
END = 256
tokens = xgrammar.TokenizerInfo([bytes([each]) for each in range(256)] + [b"</s>"], stop_token_ids=[END])
compiler = xgrammar.GrammarCompiler(tokens, max_threads=1)


def object_of(bounds):
    return {"type": "object", "properties": {"share": {"type": "number", **bounds}}, "required": ["share"]}


def is_accepted(schema, text):
    matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema), any_whitespace=False))
    return matcher.accept_string(text) and matcher.accept_token(END)


def is_valid(schema, text):
    try:
        return Draft202012Validator(schema).is_valid(json.loads(text))
    except json.JSONDecodeError:
        return False


print("version:  xgrammar", version("xgrammar"), "with jsonschema", version("jsonschema"))
print("expected: what is valid is accepted, and what is not is refused")
seen = []
for bounds, text, _ in CASES:
    schema = object_of(bounds)
    seen.append(is_accepted(schema, text))
    said = "valid" if is_valid(schema, text) else "not valid"
    print(f"seen:     {bounds}: {text} is {said}, and {'accepted' if seen[-1] else 'refused'}")
raise SystemExit(0 if seen == [is_said for _, _, is_said in CASES] else 1)
PYTHON
