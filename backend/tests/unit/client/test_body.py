from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reynard_diffusion.body import encoded
from reynard_diffusion.errors import InvalidRequest

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_values_that_json_can_express_arrive_unchanged(body: dict[str, Any]) -> None:
    assert json.loads(encoded(body)) == body


def test_numbers_may_be_of_another_library() -> None:
    body = {
        "a": np.int64(3),
        "b": np.uint8(4),
        "c": np.float32(0.5),
        "d": [np.float64(0.1)],
        "e": Fraction(1, 4),
        "f": (1,),
    }
    assert json.loads(encoded(body)) == {"a": 3, "b": 4, "c": 0.5, "d": [0.1], "e": 0.25, "f": [1]}


def loop() -> list[Any]:
    own: list[Any] = []
    own.append(own)
    return own


def nested() -> list[Any]:
    """A value nested deeper than any limit of recursion."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        *[(number, "not JSON compliant") for number in (float("nan"), float("inf"), -float("inf"), np.float32("nan"))],
        *[("\udce9", "half of a surrogate pair"), (["a", "\ud800"], "half of a surrogate pair")],
        *[(b"text", "bytes is neither text nor"), ({1}, "set is neither"), (Decimal(1), "Decimal is neither")],
        *[(object(), "object is neither"), ({"x": {(1, 2): 3}}, "keys must be"), (loop(), "Circular")],
        *[(1j, "complex is neither"), (np.array([1]), "ndarray is neither"), (nested(), "recursion")],
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_sent_is_named_by_its_field(value: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=f"temperature .*{reason}") as caught:
        encoded({"text": "fine", "temperature": value, "seed": 1})
    assert [error.field for error in caught.value.errors] == ["temperature"]
    assert caught.value.status is None
