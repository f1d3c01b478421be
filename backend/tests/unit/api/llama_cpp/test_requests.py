from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.api.errors.table import InvalidBody
from app.api.llama_cpp.requests import InfillRequest
from app.services.diffusion import DiffusionInfillingParams

MAX_LENGTH = 100


def given(**asked: Any) -> dict[str, Any]:
    (params,) = InfillRequest(input_prefix="a", **asked).params(MAX_LENGTH)
    return params.model_dump(exclude_none=True, exclude_defaults=True)


def test_the_gap_is_behind_what_was_typed() -> None:
    asked = InfillRequest(input_prefix="a\n", prompt="b = ", input_suffix="\nc")
    assert asked.params(MAX_LENGTH) == [DiffusionInfillingParams(prefix="a\nb = ", suffix="\nc")]


def test_snippets_stand_in_front_as_far_as_there_is_room() -> None:
    extra: Any = [{"filename": "a.py", "text": "x"}, {"text": "y", "time": 3}]
    assert InfillRequest(input_extra=extra, input_prefix="z").prefix == "x\n\ny\n\nz"
    asked = InfillRequest(input_extra=extra, input_prefix="z" * 4_998)
    assert asked.prefix == "\n\n" + "z" * 4_998
    assert not asked.is_cut


def test_snippets_for_which_there_is_no_room_are_not_looked_at() -> None:
    extra: Any = [{"text": str(number)} for number in range(6_000)]
    whole = "".join(f"{snippet['text']}\n\n" for snippet in extra)
    extra[0] = "no snippet at all"
    assert InfillRequest(input_extra=extra).prefix == whole[-5_000:]


def test_the_text_nearest_to_the_gap_stays() -> None:
    asked = InfillRequest(input_prefix="a" * 5_000, prompt="b", input_suffix="c" + "d" * 5_000)
    assert (asked.prefix[-2:], len(asked.prefix), asked.suffix[:2], len(asked.suffix)) == ("ab", 5_000, "cd", 5_000)
    assert asked.is_cut


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"n_predict": 7}, {"max_length": 7}),
        ({"n_predict": 700}, {"max_length": MAX_LENGTH}),
        ({"n_predict": -1}, {}),
        ({"top_k": 40, "top_p": 0.9}, {"top_k": 40, "top_p": 0.9}),
        ({"top_k": 0}, {"top_k": 100}),
        ({"top_k": -1}, {"top_k": 100}),
        ({"top_k": 1000}, {"top_k": 100}),
        ({"top_p": 0.01, "temperature": 9}, {"top_p": 0.1, "temperature": 2.0}),
        ({"repeat_penalty": 0.5}, {"repetition_penalty": 1.0}),
        ({"frequency_penalty": 3, "presence_penalty": 0.5}, {"frequency_penalty": 2.0, "presence_penalty": 0.5}),
        ({"seed": -1}, {}),
        ({"seed": 5}, {"seed": 5}),
        ({"stop": ["\n"], "model": "llada"}, {"stop": ["\n"], "model_id": "llada"}),
        ({"n_cmpl": 0}, {}),
        (
            {"temperature": -1, "top_p": -1, "min_p": -1, "repeat_penalty": -1},
            {"temperature": 0.0, "top_p": 0.1, "min_p": 0.0, "repetition_penalty": 1.0},
        ),
        ({"stop": ""}, {}),
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"stop": ["", "x" * 201, "y"]}, {"stop": ["y"]}),
        ({"stop": [str(n) for n in range(17)]}, {"stop": [str(n) for n in range(16)]}),
        ({"input_extra": None, "prompt": None, "input_suffix": None, "typical_p": 1, "n_probs": 0, "grammar": ""}, {}),
        ({"min_p": 0.1}, {"min_p": 0.1}),
        ({"typical_p": 0.1, "lora": [{"id": 0}], "what is this": {"a": 1}}, {}),
        ({"model": "", "samplers": ["top_k", "infill"], "n_indent": 4, "id_slot": 0, "cache_prompt": True}, {}),
    ],
)
def test_values_that_a_plugin_cannot_know_are_bent_to_the_bounds(
    asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert given(**asked) == {"prefix": "a", **expected}


def test_several_answers_have_seeds_of_their_own() -> None:
    params = InfillRequest(input_prefix="a", n_cmpl=3, seed=1).params(MAX_LENGTH)
    assert [each.seed for each in params] == [1, 2, 3]


def test_there_are_no_more_answers_than_there_can_be() -> None:
    assert len(InfillRequest(input_prefix="a", n_cmpl=900).params(MAX_LENGTH)) == 8


def test_unknown_fields_with_a_value_are_listed() -> None:
    asked = InfillRequest.model_validate({"typical_p": 0.1, "n_probs": 0, "foo": None, "bar": 1, "cache_prompt": True})
    assert asked.unknown_fields == ["typical_p", "bar"]


@pytest.mark.parametrize("asked", [{"n_predict": "many"}, {"stop": [1]}, {"input_prefix": 5}, {"input_extra": ["a"]}])
def test_an_unreadable_rules_file_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InfillRequest.model_validate(asked)


@pytest.mark.parametrize(
    ("asked", "wants_text"),
    [
        ({"input_prefix": "a"}, True),
        ({"input_suffix": "a"}, True),
        ({}, False),
        ({"input_prefix": "a", "n_predict": 0}, False),
    ],
)
def test_warming_up_wants_no_text(asked: dict[str, Any], wants_text: bool) -> None:
    assert InfillRequest(**asked).wants_text == wants_text


def test_a_schema_constrains_the_answer() -> None:
    assert given(json_schema={"type": "object"}) == {
        "prefix": "a", "constraint": {"json_schema": {"type": "object"}},
    }  # fmt: skip
    assert given(json_schema={})["constraint"] == {"json_schema": {}}
    assert given(json_schema=None, grammar="") == {"prefix": "a"}
    with pytest.raises(InvalidBody) as refusal:
        given(json_schema={}, stop=["x"])
    (error,) = refusal.value.errors
    assert (error.field, error.message[:11]) == ("json_schema", "json_schema")
    with pytest.raises(ValidationError, match="grammar\n  is not supported"):
        given(grammar="root ::= x")
