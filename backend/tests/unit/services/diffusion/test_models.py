from typing import Any

import pytest
from pydantic import ValidationError

from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams, GenerationResult


@pytest.mark.parametrize(
    "given", [{}, {"prefix": ""}, {"suffix": ""}, {"prefix": "", "suffix": ""}, {"prefix": "a" * 5001}]
)
def test_an_infilling_needs_text_on_one_side_and_not_too_much(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DiffusionInfillingParams(**given)


@pytest.mark.parametrize("given", [{"prefix": "a"}, {"suffix": "b"}, {"prefix": "a", "suffix": "b"}])
def test_one_side_is_enough(given: dict[str, Any]) -> None:
    assert DiffusionInfillingParams(**given).model_dump(include=set(given)) == given


@pytest.mark.parametrize(
    "given",
    [
        {"text": ""},
        {"text": "a" * 10_001},
        {"temperature": 2.1},
        {"temperature": float("nan")},
        {"top_p": 0.05},
        {"top_k": 101},
        {"repetition_penalty": 0.9},
        {"max_length": 2049},
        {"max_length": True},
        {"seed": -1},
        {"stop": ""},
        {"stop": ["a"] * 17},
        {"stream_mode": "loud"},
        {"surprise": 1},
        {"text": "\ud800"},
    ],
)
def test_a_value_out_of_bounds_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DiffusionGenerationParams(**{"text": "x", **given})


def test_stop_is_one_string_or_several() -> None:
    assert DiffusionGenerationParams(text="x").stop_strings == ()
    assert DiffusionGenerationParams(text="x", stop="a").stop_strings == ("a",)
    assert DiffusionGenerationParams(text="x", stop=["a", "b"]).stop_strings == ("a", "b")


def test_a_result_prints_as_its_text() -> None:
    result = GenerationResult(text="hello", model_id="m", processing_time=0.1, tokens_generated=1, metadata={})
    assert f"{result}" == "hello"
