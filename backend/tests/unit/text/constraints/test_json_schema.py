"""JSON schemas: what is drawn is valid for an independent validator, what is valid and compact is accepted."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for

from app.text.constraints.compile import compile_constraint
from app.text.constraints.compiled import CompiledConstraint
from app.text.constraints.limits import Limits
from app.text.errors import ConstraintError
from tests.unit.text.constraints.automata import BYTES, accepts_text, walk


def compiled(schema: Any) -> CompiledConstraint:
    return compile_constraint("json_schema", schema, BYTES)


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def drawn(schema: Any, count: int = 40) -> list[str]:
    """Texts that the automaton of a schema accepts."""
    chance = random.Random(1)
    constraint = compiled(schema)
    return [walk(constraint, chance).decode() for _ in range(count)]


def valid(schema: Any, text: str) -> bool:
    validator = validator_for(schema, Draft202012Validator)(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return bool(validator.is_valid(json.loads(text)))


SCHEMAS: dict[str, Any] = {
    "flat": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 130},
            "member": {"type": "boolean"},
            "colour": {"enum": ["red", 'dark "blue"', None, 3, 2.5]},
        },
        "required": ["age", "colour"],
        "additionalProperties": False,
    },
    "mapping": {
        "type": "object",
        "propertyNames": {"minLength": 2, "pattern": "^[a-z]*$"},
        "additionalProperties": {"type": "integer"},
        "minProperties": 1,
        "maxProperties": 3,
    },
    "mapping of listed names": {
        "type": "object",
        "propertyNames": {"$ref": "#/$defs/name"},
        "additionalProperties": {"type": "boolean"},
        "minProperties": 2,
        "maxProperties": 3,
        "$defs": {"name": {"anyOf": [{"enum": ["a", "b", 1, "none"]}, {"const": "c"}], "maxLength": 3}},
    },
    "mapping by a pattern": {
        "type": "object",
        "patternProperties": {"^x-": {"type": "boolean"}},
        "additionalProperties": False,
        "propertyNames": {"maxLength": 5},
    },
    "some members": {
        "type": "object",
        "properties": {name: {"type": "null"} for name in "abcd"},
        "required": ["b"],
        "minProperties": 2,
        "maxProperties": 3,
    },
    "record": {
        "type": "object",
        "propertyNames": {"type": "string", "enum": ["a", "b"]},
        "properties": {"other": {"type": "null"}},
        "additionalProperties": {"type": "integer"},
        "required": ["a", "b"],
    },
    "encoded": {"type": "string", "contentEncoding": "base64", "maxLength": 30},
    "a format by its pattern": {"type": "string", "format": "ulid", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"},
    "a format by patterns": {"type": "string", "format": "includes", "allOf": [{"pattern": "^ab"}, {"pattern": "q"}]},
    "tuple of Draft 07": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [{"type": "integer"}, {"const": "a"}],
        "additionalItems": {"type": "boolean"},
        "minItems": 1,
        "maxItems": 4,
    },
    "set": {
        "type": "array",
        "uniqueItems": True,
        "items": {"enum": ["a", {"b": [1]}, 1, 1.0, None]},
        "minItems": 1,
        "maxItems": 3,
    },
    "set of one": {"type": "array", "uniqueItems": True, "maxItems": 1, "items": {"type": "string"}},
    "nested": {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1, "maxItems": 3},
            "place": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": ["number", "null"]}}},
        },
        "required": ["place", "other"],
    },
    "tuple": {"type": "array", "prefixItems": [{"const": 1}, {"type": "null"}], "items": {"type": "boolean"}},
    "closed tuple": {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 1},
    "long numbers": {"type": "integer", "minimum": -1005, "exclusiveMaximum": 987654321},
    "numbers": {"type": "number", "exclusiveMinimum": -0.125, "maximum": 2.5},
    "one side": {"type": "number", "exclusiveMinimum": 0},
    "other side": {"type": "integer", "maximum": -17},
    "multiples": {"type": "integer", "multipleOf": 7, "minimum": -50, "maximum": 100},
    "pattern": {"type": "string", "pattern": "^a|b{2}", "minLength": 3, "maxLength": 5},
    "two patterns": {"type": "string", "allOf": [{"pattern": "a"}, {"pattern": "\\d"}], "maxLength": 6},
    "escapes": {"type": "string", "pattern": '^[\\\\"/\\n\\x00-\\x20]+$'},
    "any": {},
    "any object": {"type": "object"},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    "no type": {"minLength": 2, "minimum": 3, "maxItems": 1, "required": ["a"]},
    "references": {
        "$defs": {"point": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}},
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/point"}, "b": {"$ref": "#/$defs/point", "description": "b"}},
        "required": ["a"],
    },
    "recursive": {
        "$defs": {
            "tree": {"type": "object", "properties": {"below": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}
        },
        "$ref": "#/$defs/tree",
    },
    "any of": {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}, {"const": [1, {"a": None}]}]},
    "one of by a property": {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": kind}, kind: {"type": "null"}}, "required": ["kind"]}
            for kind in ("circle", "square")
        ]
    },
    "one of by names": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "one of by types": {
        "oneOf": [{"type": "integer", "maximum": 3}, {"type": "number", "minimum": 4}, {"type": "null"}]
    },
    "all of": {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "allOf": [{"properties": {"a": {"minimum": 3}, "b": {"type": "string"}}}, {"required": ["b"]}],
    },
    "listed and bounded": {"enum": [1, 5, "a", "abc", None, [1, 2]], "minimum": 2, "minLength": 2, "maxItems": 1},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_drawn_is_valid(name: str) -> None:
    texts = drawn(SCHEMAS[name])
    assert len(set(texts)) > 1
    assert [text for text in texts if not valid(SCHEMAS[name], text)] == []


FORMATS = ["date", "time", "date-time", "uuid", "email", "hostname", "ipv4", "ipv6", "uri"]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_drawn_has_its_format(name: str) -> None:
    schema = {"type": "string", "format": name}
    assert all(valid(schema, text) for text in drawn(schema, 100))


@pytest.mark.parametrize(
    ("name", "text", "is_valid"),
    [
        ("date", "2024-02-29", True),
        ("date", "2023-02-29", False),
        ("date", "1900-02-29", False),
        ("date", "2000-02-29", True),
        ("date", "0000-01-01", False),
        ("date", "2023-04-31", False),
        ("time", "23:59:59Z", True),
        ("time", "24:00:00Z", False),
        ("date-time", "2026-11-29T06:30:00.25+01:00", True),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", True),
        ("email", "a.b+c@example.org", True),
        ("hostname", "example.org", True),
        ("ipv4", "255.0.10.1", True),
        ("ipv4", "256.0.0.1", False),
        ("ipv4", "01.0.0.1", False),
        ("ipv6", "::1", True),
        ("ipv6", "::", True),
        ("ipv6", "1::2:3:4:5:6", True),
        ("ipv6", "1:2:3:4:5:6:7:8", True),
        ("ipv6", "1::2::3", False),
        ("uri", "https://example.org/a/b?x=1&y=2#top", True),
    ],
)
def test_formats_accept_usual_texts_and_refuse_near_ones(name: str, text: str, is_valid: bool) -> None:
    assert accepts_text(compiled({"type": "string", "format": name}), compact(text)) == is_valid


BOUND = st.one_of(st.integers(-1200, 1200), st.decimals(-12, 12, places=2).map(float))


@given(BOUND, BOUND, st.booleans(), st.booleans())
@settings(max_examples=60)
def test_numbers_are_accepted_exactly_between_their_bounds(
    low: float, high: float, open_low: bool, open_high: bool
) -> None:
    schema = {
        "type": "number",
        "exclusiveMinimum" if open_low else "minimum": low,
        "exclusiveMaximum" if open_high else "maximum": high,
    }
    shown = [end + step for end in (low, high) for step in (-100, -1, -0.5, -0.01, 0, 0.01, 0.5, 1, 100)]
    texts = {compact(round(value, 2) + 0.0) for value in shown} - {"0.0", "-0.0"} | {"0", "7", "-7", "1.50", "10.000"}
    wanted = {text for text in texts if valid(schema, text)}
    try:
        constraint = compiled(schema)
    except ConstraintError:
        assert not wanted
    else:
        assert {text for text in texts if accepts_text(constraint, text)} == wanted


@given(st.integers(-300, 300), st.integers(-300, 300), st.sampled_from([1, 2, 3, 7, 10, 64]))
@settings(max_examples=40)
def test_integers_are_accepted_exactly_between_their_bounds(low: int, high: int, factor: int) -> None:
    schema = {"type": "integer", "minimum": low, "maximum": high, "multipleOf": factor}
    wanted = [number for number in range(-310, 310) if low <= number <= high and number % factor == 0]
    if not wanted:
        with pytest.raises(ConstraintError, match="No JSON text satisfies"):
            compiled(schema)
    else:
        constraint = compiled(schema)
        assert [number for number in range(-310, 310) if accepts_text(constraint, str(number))] == wanted


@given(
    st.integers(-300, 300),
    st.integers(-300, 300),
    st.sampled_from(["0.01", "0.05", "0.25", "0.3", "0.7", "2.5", "12.5", "1", "7", "0.000001"]),
    st.sampled_from(["0.1", "0.5", "1", "3"]),
)
@settings(max_examples=60)
def test_multiples_of_decimals_are_accepted_exactly(low: int, high: int, factor: str, other: str) -> None:
    """Exactly: a validator that divides floats, as jsonschema 4.26 does, finds 0.07 no multiple of 0.01."""
    ends = {"minimum": low / 100, "maximum": high / 100}
    schema = {"allOf": [{"type": "number", **ends}, {"multipleOf": float(factor)}, {"multipleOf": float(other)}]}
    shown = [Decimal(number) / 100 for number in range(-310, 311)]
    texts = [f"{number:.{places}f}" for number in shown for places in range(3) if number == round(number, places)]
    wanted = [
        text
        for text in texts
        if low <= 100 * Decimal(text) <= high
        and not Decimal(text) % Decimal(factor)
        and not Decimal(text) % Decimal(other)
        and len(text.partition(".")[2]) <= min(len(each.partition(".")[2]) for each in (factor, other))
        and Decimal(text).is_signed() == (Decimal(text) < 0)
    ]
    try:
        constraint = compiled(schema)
    except ConstraintError:
        assert not wanted
    else:
        assert [text for text in texts if accepts_text(constraint, text)] == wanted


@pytest.mark.parametrize(
    ("bounds", "right", "wrong"),
    [
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1e-7}, "0.00000005", "0.0000001"),
        ({"minimum": 1e-9, "maximum": 1e-9}, "0.000000001", "0.0000000011"),
        ({"exclusiveMinimum": -1e-12, "exclusiveMaximum": 0}, "-0.0000000000001", "-0.000000000001"),
        ({"minimum": 1.00000001, "maximum": 1.00000002}, "1.00000002", "1.00000003"),
        ({"exclusiveMinimum": 10**9, "exclusiveMaximum": 10**9 + 1}, "1000000000.5", "1000000001"),
    ],
)
def test_bounds_that_are_near_have_decimals_enough(bounds: dict[str, float], right: str, wrong: str) -> None:
    constraint = compiled({"type": "number", **bounds})
    assert accepts_text(constraint, right)
    assert not accepts_text(constraint, wrong)
    assert all(valid(bounds, text) for text in drawn({"type": "number", **bounds}))


def test_prices_have_at_most_two_decimals() -> None:
    texts = drawn({"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 1000})
    assert any("." in text for text in texts)
    assert all(0 <= Decimal(text) <= 1000 and len(text.partition(".")[2]) <= 2 for text in texts)
    assert accepts_text(compiled({"type": "number", "multipleOf": 0.01}), "123456.78")


def test_an_integer_may_be_a_multiple_of_a_decimal() -> None:
    constraint = compiled({"type": "integer", "multipleOf": 0.75})
    assert [number for number in range(-9, 10) if accepts_text(constraint, str(number))] == [-9, -6, -3, 0, 3, 6, 9]
    assert not accepts_text(constraint, "1.5")


SCALARS = st.one_of(
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 2),
        st.integers(0, 3),
    ),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-20, 20),
        st.integers(0, 99),
    ),
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"type": "number"}, {"enum": ["a", "ü", 1]}, {"type": "string"}]
    ),
)


def _object(parts: list[tuple[str, dict[str, Any], bool]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: schema for name, schema, _ in parts},
        "required": [name for name, _, needed in parts if needed],
        "additionalProperties": False,
    }


RANDOM_SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(
            st.tuples(st.sampled_from("abcd"), inner, st.booleans()), max_size=4, unique_by=lambda part: part[0]
        ).map(_object),
        st.builds(
            lambda items, low, more: {"type": "array", "items": items, "minItems": low, "maxItems": low + more},
            inner,
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"anyOf": branches}),
    ),
    max_leaves=5,
)


def instance(schema: dict[str, Any], chance: random.Random) -> Any:
    """A random value that satisfies one of the random schemas."""
    if "enum" in schema:
        return chance.choice(schema["enum"])
    if "anyOf" in schema:
        return instance(chance.choice(schema["anyOf"]), chance)
    if schema["type"] == "object":
        needed = schema["required"]
        shown = {name: part for name, part in schema["properties"].items() if name in needed or chance.random() < 0.5}
        return {name: instance(part, chance) for name, part in shown.items()}
    if schema["type"] == "array":
        count = chance.randint(schema["minItems"], schema["maxItems"])
        return [instance(schema["items"], chance) for _ in range(count)]
    if schema["type"] == "string":
        count = chance.randint(schema.get("minLength", 0), schema.get("maxLength", 9))
        return "".join(chance.choice('aé日😀"\\/\n ') for _ in range(count))
    if schema["type"] == "integer":
        return chance.randint(schema["minimum"], schema["maximum"])
    values: dict[str, list[Any]] = {"boolean": [True, False], "null": [None], "number": [0, -3, 2.5, 1234.75]}
    return chance.choice(values[schema["type"]])


@given(RANDOM_SCHEMAS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_random_schemas_accept_their_instances_and_draw_valid_ones(
    schema: dict[str, Any], chance: random.Random
) -> None:
    constraint = compiled(schema)
    for _ in range(5):
        value = instance(schema, chance)
        spaced = json.dumps(value, ensure_ascii=False)
        assert valid(schema, compact(value))
        assert accepts_text(constraint, compact(value))
        assert accepts_text(constraint, spaced)
        assert valid(schema, walk(constraint, chance).decode())


@pytest.mark.parametrize(
    ("schema", "text", "accepted"),
    [
        ({"type": "string", "maxLength": 1}, '"\\n"', True),
        ({"type": "string", "maxLength": 1}, '"😀"', True),
        ({"type": "string", "maxLength": 1}, '"\\/"', True),
        ({"type": "string"}, '"\n"', False),
        ({"type": "string"}, '"\\u0041"', False),
        ({"const": "\u0001"}, '"\\u0001"', True),
        ({"type": "array", "items": {"type": "null"}}, "[null, null]", True),
        ({"type": "array", "items": {"type": "null"}}, "[null,  null]", False),
        ({"type": "array", "items": {"type": "null"}}, "[ null]", False),
        ({"type": "object", "properties": {"a": {}, "b": {}}}, '{"a": 1, "b":[]}', True),
        ({"type": "object", "properties": {"a": {}, "b": {}}}, '{"b":1}', True),
        ({"type": "object", "properties": {"a": {}, "b": {}}}, '{"b":1,"a":1}', False),
        ({"type": "object", "properties": {"a": {}}}, '{"c":1}', False),
        ({"type": "number"}, "1e5", False),
        ({"type": "integer"}, "007", False),
        ({"type": ["integer", "null"]}, "null", True),
        ({"enum": [1.0]}, "1", True),
        (True, '{"a":[{"b":1}]}', True),
        ({"uniqueItems": False, "x-order": 3, "title": "t", "example": 2, "const": 1}, "1", True),
    ],
)
def test_json_is_written_one_way(schema: Any, text: str, accepted: bool) -> None:
    assert accepts_text(compiled(schema), text) == accepted


@pytest.mark.parametrize(
    ("keyword", "schema"),
    [
        ("uniqueItems", {"type": "array", "uniqueItems": True}),
        ("uniqueItems", {"type": "array", "uniqueItems": True, "prefixItems": [{"const": 1}], "items": {"const": 2}}),
        ("uniqueItems", {"type": "array", "uniqueItems": 1}),
        ("patternProperties", {"patternProperties": {"a": {}, "b": {}}}),
        ("patternProperties", {"patternProperties": {"a": {}}, "required": ["a"]}),
        ("minProperties", {"minProperties": 2}),
        ("minProperties", {"minProperties": -1}),
        ("not", {"not": {"const": 1}}),
        ("contains", {"contains": {"type": "null"}}),
        ("if", {"if": {}, "then": {}}),
        ("dependentRequired", {"dependentRequired": {}}),
        ("dependentSchemas", {"dependentSchemas": {}}),
        ("unevaluatedProperties", {"unevaluatedProperties": False}),
        ("unevaluatedItems", {"unevaluatedItems": False}),
        ("contentEncoding", {"contentEncoding": "base32"}),
        ("$dynamicRef", {"$dynamicRef": "#a"}),
        ("$anchor", {"$anchor": "a"}),
        ("$id", {"properties": {"a": {"$id": "b"}}}),
        ("nonsense", {"properties": {"a": {"items": {"nonsense": 1}}}}),
        ("format", {"type": "string", "format": "regex"}),
        ("multipleOf", {"type": "number", "multipleOf": 99.99}),
        ("multipleOf", {"type": "number", "multipleOf": 1e-7}),
        ("multipleOf", {"type": "integer", "multipleOf": 5001}),
        ("oneOf", {"oneOf": [{"type": "string"}, {"minLength": 2}]}),
        ("oneOf", {"oneOf": [{"type": "integer"}, {"type": "number"}]}),
        ("$ref", {"$ref": "https://example.org/schema"}),
        ("$ref", {"$ref": "#/$defs/absent"}),
        ("items", {"items": [1]}),
        ("items", {"items": []}),
        ("minLength", {"minLength": "a"}),
        ("type", {"type": "text"}),
        ("properties", {"properties": []}),
        ("maximum", {"maximum": True}),
        ("exclusiveMinimum", {"minimum": 1, "exclusiveMinimum": True}),
        ("$schema", {"$schema": "http://json-schema.org/draft-04/schema#"}),
        ("prefixItems", {"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": [{}]}),
        ("look-ahead", {"type": "string", "pattern": "(?=a)"}),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(keyword: str, schema: Any) -> None:
    with pytest.raises(ConstraintError) as caught:
        compiled(schema)
    assert caught.value.keyword == keyword
    assert keyword in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (False, "nothing is left at #"),
        ({"enum": []}, "nothing is left at #"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "nothing is left at #"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "nothing is left at #"),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 0}}, "required": ["a"]},
            "#/properties/a",
        ),
        ({"type": "string", "pattern": "^a{5}$", "maxLength": 4}, "nothing is left"),
        ({"$ref": "#"}, "within itself"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
            "followed at most 3 times within itself",
        ),
    ],
)
def test_a_schema_without_any_text_is_refused_with_the_place(schema: Any, reason: str) -> None:
    with pytest.raises(ConstraintError, match=f"No JSON text satisfies the schema.*{reason}"):
        compiled(schema)


def nested(depth: int) -> Any:
    schema: Any = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(65),
        nested(300),
        {"type": "string", "maxLength": 10**9},
        {
            "type": "array",
            "items": {"type": "array", "items": {"type": "string", "maxLength": 500}, "maxItems": 500},
            "maxItems": 500,
        },
        {"allOf": [{"anyOf": [{"minimum": 1}, {"maximum": 0}]}] * 30},
        {"$defs": {"a": {"anyOf": [{"items": {"$ref": "#/$defs/a"}}] * 30}}, "$ref": "#/$defs/a"},
        {"minimum": 10**4000},
        [1],
        "string",
        None,
    ],
)
def test_a_hostile_schema_is_refused_within_the_limits(schema: Any) -> None:
    with pytest.raises(ConstraintError):
        compile_constraint("json_schema", schema, BYTES, limits=Limits(seconds=0.5, nodes=5_000))


def test_a_deep_schema_within_the_limits_compiles() -> None:
    assert accepts_text(compiled(nested(60)), "[" * 60 + "null" + "]" * 60)
