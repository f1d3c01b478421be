#!/usr/bin/env bash
# pydantic 2.14.4, with jsonschema 4.26.0.
# Guess: what the schema of a dictionary says of its names is what pydantic asks of them, as it does for `dict[UUID, int]`, `dict[date, int]`
#   and `dict[Literal["a", "b"], int]` by `propertyNames`.
# Instead: of `dict[int, int]`, of keys that are float, bool or `Literal[1, 2]`, the schema takes any name, and for keys with a pattern it
#   bounds the values of names that match, and takes all others: an answer that obeys it is refused by pydantic. For keys of an IntEnum
#   it asks for names that are integers, which none is: only {} obeys, and what pydantic itself writes of such a dictionary does not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydantic==2.14.4 jsonschema==4.26.0 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
import datetime
import json
import uuid
from enum import IntEnum
from importlib.metadata import version
from typing import Annotated, Literal

from jsonschema import Draft202012Validator
from pydantic import Field, TypeAdapter, ValidationError

Size = IntEnum("Size", {"SMALL": 1, "LARGE": 2})
Word = Annotated[str, Field(pattern="^[a-z]+$")]
KINDS = {
    "UUID": (uuid.UUID, uuid.UUID(int=1)),
    "date": (datetime.date, datetime.date(2026, 1, 1)),
    'Literal["a", "b"]': (Literal["a", "b"], "a"),
    "int": (int, 1),
    "float": (float, 1.5),
    "bool": (bool, True),
    "str with a pattern": (Word, "fox"),
    "Literal[1, 2]": (Literal[1, 2], 1),
    "IntEnum": (Size, Size.SMALL),
}


def takes(adapter, text):
    try:
        adapter.validate_json(text)
    except ValidationError:
        return False
    return True


def verdict(kind, key):
    """How the schema and pydantic agree on a name that is none, and on what pydantic writes of a dictionary with the key."""
    adapter = TypeAdapter(dict[kind, int])
    is_valid = Draft202012Validator(adapter.json_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER).is_valid
    assert not takes(adapter, '{"No name": 1}')
    own = json.loads(adapter.dump_json({key: 1}))
    if is_valid({"No name": 1}):
        return "takes any name"
    return "right" if is_valid(own) else f"refuses {json.dumps(own)}"


seen = {name: verdict(*kind) for name, kind in KINDS.items()}
print("version:  pydantic", version("pydantic"), "with jsonschema", version("jsonschema"))
print("expected: the schema refuses the name 'No name', as pydantic does, and takes what pydantic writes")
for name, is_seen in seen.items():
    print(f"seen:     dict[{name}, int]: {is_seen}")
print("         ", TypeAdapter(dict[Word, int]).json_schema(), "and", TypeAdapter(dict[Size, int]).json_schema())
verdicts = ["right"] * 3 + ["takes any name"] * 5 + ['refuses {"1": 1}']
raise SystemExit(0 if list(seen.values()) == verdicts else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
