from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.wire.json_encoding import json_bytes
from app.services.diffusion.models import DiffusionStreamEvent

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=10,
)


@given(ANYTHING)
def test_is_always_one_line_of_valid_json(value: Any) -> None:
    text = json_bytes(value).decode("utf-8")
    assert len(text.splitlines()) == 1
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_comes_back_to_the_byte(text: str) -> None:
    assert json.loads(json_bytes({"data": text}))["data"] == text


def test_letters_are_not_escaped() -> None:
    assert json_bytes({"a": "é漢🙂"}) == '{"a":"é漢🙂"}'.encode()


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("\ud800", b'"?"'),
        ({"\udfff": ["\ud800", 1.5, None, True]}, b'{"?":["?",1.5,null,true]}'),
        (math.nan, b"null"),
        ({"a": math.inf, "b": "\ud800"}, b'{"a":null,"b":"?"}'),
        (b"\xff", b"\"b'\\\\xff'\""),
        (DiffusionStreamEvent(type="token", data="\ud800", timestamp=1.0), None),
    ],
)
def test_values_that_json_cannot_express_are_replaced(value: Any, encoded: bytes | None) -> None:
    assert encoded is None or json_bytes(value) == encoded
    json.loads(json_bytes(value))


def test_unknown_object_is_shown_as_text() -> None:
    assert isinstance(json.loads(json_bytes({"data": object()}))["data"], str)
