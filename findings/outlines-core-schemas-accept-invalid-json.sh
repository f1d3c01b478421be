#!/usr/bin/env bash
# outlines-core 0.2.14, beside jsonschema 4.26.0.
# Guess: a schema that `build_regex_from_schema` translates without an error is honoured: text that matches the expression is
#   valid by the schema.
# Instead: `minimum` of an integer, `oneOf` with overlapping branches and `uniqueItems` are passed over in silence, and
#   `format: date` takes the 31st of February. Texts match that the schema forbids.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet outlines-core==0.2.14 jsonschema==4.26.0 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import json
import re
import sys

from jsonschema import Draft202012Validator, FormatChecker
from outlines_core.json_schema import build_regex_from_schema

cases = [
    ({"type": "integer", "minimum": 5}, "1"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "1"),
    ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "[1,1]"),
    ({"type": "string", "format": "date"}, '"2023-02-31"'),
]
is_as_described = True
for schema, text in cases:
    matches = re.fullmatch(build_regex_from_schema(json.dumps(schema)), text) is not None
    valid = Draft202012Validator(schema, format_checker=FormatChecker()).is_valid(json.loads(text))
    print(f"{json.dumps(schema)}: {text} matches: {matches}, is valid: {valid}")
    is_as_described &= matches and not valid
sys.exit(0 if is_as_described else 1)
PYTHON
