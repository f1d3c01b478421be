#!/usr/bin/env bash
# pydantic 2.14.4.
# Guess: in strict mode `Literal[False]` takes false alone, as the JSON schema says that it makes of it ({"const": false}), and
#   as PEP 586 has it, for which Literal[False] and Literal[0] are two types.
# Instead: 0 and 0.0 are taken for it, and become False; `Literal[0]` takes false, and Literal[True] 1. So of
#   `Literal[False] | int` a 0 arrives as False, while `int | Literal[False]` keeps the two apart: of two alternatives that fit
#   the first one wins.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydantic==2.14.4 jsonschema==4.25.1 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
from importlib.metadata import version
from typing import Literal

from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError


def read(kind: object, json: str) -> str:
    try:
        return repr(TypeAdapter(kind).validate_json(json, strict=True))
    except ValidationError:
        return "refused"


schema = TypeAdapter(Literal[False]).json_schema()
by_schema = Draft202012Validator(schema).is_valid(0)
alone = {json: read(Literal[False], json) for json in ("0", "0.0", "1")}
first, last = read(Literal[False] | int, "0"), read(int | Literal[False], "0")
print(f"version:  pydantic {version('pydantic')}, jsonschema {version('jsonschema')}")
print(f"expected: Literal[False] refuses 0, as its schema {schema} does; Literal[False] | int gives 0")
print(f"seen:     0 is valid by the schema: {by_schema}; Literal[False] of 0, 0.0 and 1: {', '.join(alone.values())}; ", end="")
print(f"Literal[False] | int of 0: {first}, int | Literal[False]: {last}")
is_as_described = not by_schema and list(alone.values()) == ["False", "False", "refused"] and (first, last) == ("False", "0")
raise SystemExit(0 if is_as_described else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
