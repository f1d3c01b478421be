#!/usr/bin/env bash
# jsonschema 4.26.0 with pydantic 2.14.4, fastjsonschema 2.22.3 and jsonschema-rs 0.61.2.
# Guess: of the prices 0.00, 0.01 to 9.99 each is valid by the schema that pydantic makes of `Field(multiple_of=0.01)`, as it is
#   for pydantic itself, whoever validates. So an answer under a constraint that obeys the schema exactly is valid everywhere.
# Instead: jsonschema divides floats and asks whether the quotient is whole: 159 of the thousand, 0.07 the first, are not
#   valid. fastjsonschema, jsonschema-rs and pydantic take all of them, and none takes 0.001.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jsonschema==4.26.0 pydantic==2.14.4 fastjsonschema==2.22.3 jsonschema-rs==0.61.2 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
from importlib.metadata import version
from typing import Annotated

import fastjsonschema
import jsonschema_rs
from jsonschema import Draft202012Validator
from pydantic import Field, TypeAdapter, ValidationError

PRICE = TypeAdapter(Annotated[float, Field(multiple_of=0.01)])
SCHEMA = PRICE.json_schema()
FAST = fastjsonschema.compile(SCHEMA)


def takes(check, errors, value):
    try:
        check(value)
    except errors:
        return False
    return True


VALIDATORS = {
    "pydantic": lambda value: takes(PRICE.validate_python, ValidationError, value),
    "jsonschema": Draft202012Validator(SCHEMA).is_valid,
    "fastjsonschema": lambda value: takes(FAST, fastjsonschema.JsonSchemaValueException, value),
    "jsonschema_rs": jsonschema_rs.validator_for(SCHEMA).is_valid,
}
prices = [float(f"{cents / 100:.2f}") for cents in range(1000)]
refused = {name: [price for price in prices if not is_valid(price)] for name, is_valid in VALIDATORS.items()}
taken = [name for name, is_valid in VALIDATORS.items() if is_valid(0.001)]
print("version: ", ", ".join(f"{name} {version(name)}" for name in VALIDATORS))
print(f"expected: every price below 10 is valid by {SCHEMA}, and 0.001 is not")
counts = ", ".join(f"{name} {len(each)}" for name, each in refused.items())
print(f"seen:     refused of 1000: {counts}; jsonschema's first: {refused['jsonschema'][:3]}; 0.001 taken by {taken or 'none'}")
others = [each for name, each in refused.items() if name != "jsonschema"]
is_as_described = refused["jsonschema"][:1] == [0.07] and len(refused["jsonschema"]) == 159 and not any(others) and not taken
raise SystemExit(0 if is_as_described else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
