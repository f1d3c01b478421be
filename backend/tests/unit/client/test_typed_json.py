from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from reynard_diffusion.reports import DiffusionHealth
from reynard_diffusion.typed_json import typed


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    count: int
    parts: dict[str, Part]
    word: Literal["a", "b"] = "a"
    names: list[str] = field(default_factory=list)
    part: Part | None = None
    anything: Any = None


LEAST: dict[str, Any] = {"count": 1, "parts": {}}


def test_all_that_is_there_is_read() -> None:
    value = {"count": 2, "parts": {"x": {"share": 1}}, "word": "b", "names": ["y"], "part": {"share": 0.5}}
    read = typed(Whole, {**value, "anything": [None]})
    half = Part(share=0.5)
    assert read == Whole(count=2, parts={"x": Part(share=1)}, word="b", names=["y"], part=half, anything=[None])


def test_fields_that_may_be_absent_or_null_are_so() -> None:
    assert typed(Whole, {**LEAST, "part": None}) == typed(Whole, LEAST) == Whole(count=1, parts={})


def test_fields_of_a_newer_server_are_left_out() -> None:
    assert typed(Whole, {**LEAST, "newer": 1, "parts": {"x": {"share": 0.5, "newer": {}}}}).parts["x"].share == 0.5


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], r"Whole is \[\], not an object"),
        ({"parts": {}}, "Whole has no count"),
        ({"count": True, "parts": {}}, r"Whole\.count is True, not int"),
        ({"count": 1.0, "parts": {}}, r"Whole\.count is 1\.0, not int"),
        ({"count": None, "parts": {}}, r"Whole\.count is None, not int"),
        ({"count": 1, "parts": []}, r"Whole\.parts is \[\], not dict\[str, .*Part\]"),
        ({"count": 1, "parts": {"x": {}}}, r"Whole\.parts\.x has no share"),
        ({"count": 1, "parts": {"x": {"share": "1"}}}, r"Whole\.parts\.x\.share is '1', not float"),
        ({**LEAST, "word": "c"}, r"Whole\.word is 'c', not Literal\['a', 'b'\]"),
        ({**LEAST, "names": ["a", 2]}, r"Whole\.names\[1\] is 2, not str"),
        ({**LEAST, "part": 3}, r"Whole\.part is 3, not an object"),
    ],
)
def test_another_shape_is_named_with_its_place(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        typed(Whole, value)


def test_a_complaint_is_no_longer_than_a_line() -> None:
    with pytest.raises(ValueError, match="not an object") as caught:
        typed(DiffusionHealth, "x" * 10_000)
    assert len(str(caught.value)) < 200
