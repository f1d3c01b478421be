"""Types of Pydantic: what an automaton of their JSON schema accepts is a value of the type.

Left out are types whose schema takes more than they do: Decimal and ByteSize, for which any text is valid, and others.
"""

from __future__ import annotations

import enum
import random
from datetime import date, datetime, time, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from pydantic import (
    UUID4,
    UUID7,
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    Base64UrlBytes,
    BaseModel,
    Field,
    HttpUrl,
    JsonValue,
    PositiveFloat,
    SecretStr,
    StringConstraints,
    TypeAdapter,
)

from app.text.constraints.compile import compile_constraint
from app.text.errors import ConstraintError
from tests.unit.text.constraints.automata import BYTES, walk


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: float


class Invoice(BaseModel):
    """A model as programs have them."""

    id: UUID4
    page: HttpUrl | None
    price: Annotated[float, Field(multiple_of=0.01, ge=0, lt=100)]
    paid_after: timedelta
    labels: set[Colour]
    amounts: Annotated[dict[Colour, int], Field(min_length=1)]


TYPES: dict[str, Any] = {
    "AnyUrl": AnyUrl,
    "AwareDatetime": AwareDatetime,
    "Base64Bytes": Base64Bytes,
    "Base64UrlBytes": Base64UrlBytes,
    "HttpUrl": HttpUrl,
    "IPv4Address": IPv4Address,
    "IPv6Address": IPv6Address,
    "Invoice": Invoice,
    "JsonValue": JsonValue,
    "NamedTuple": Point,
    "Path": Path,
    "PositiveFloat": PositiveFloat,
    "SecretStr": SecretStr,
    "UUID": UUID,
    "UUID4": UUID4,
    "UUID7": UUID7,
    "bytes": bytes,
    "date": date,
    "datetime": datetime,
    "dict of a pattern": dict[Annotated[str, StringConstraints(pattern="^[a-z]+$")], int],
    "dict of listed names": dict[Literal["a", "b"], int],
    "dict of lengths": dict[Annotated[str, StringConstraints(min_length=1, max_length=5)], int],
    "dict of one or more": Annotated[dict[str, int], Field(min_length=1)],
    "enum": Colour,
    "multiple": Annotated[float, Field(multiple_of=0.05)],
    "set of listed values": Annotated[set[Colour], Field(min_length=1, max_length=2)],
    "time": time,
    "timedelta": timedelta,
    "tuple": tuple[int, ...],
}


@pytest.mark.parametrize("name", TYPES)
def test_what_is_written_is_a_value_of_the_type(name: str) -> None:
    adapter = TypeAdapter(TYPES[name])
    constraint = compile_constraint("json_schema", adapter.json_schema(), BYTES)
    chance = random.Random(1)
    for _ in range(20):
        adapter.validate_json(walk(constraint, chance))


def test_a_set_of_any_texts_is_refused_by_name() -> None:
    with pytest.raises(ConstraintError, match=r"where the items are listed \(enum, const\)") as caught:
        compile_constraint("json_schema", TypeAdapter(set[str]).json_schema(), BYTES)
    assert caught.value.keyword == "uniqueItems"
