"""One thing under two names in one body."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.api.ollama.requests import ShowRequest
from app.api.openai.requests import ChatRequest, CompletionRequest, FimRequest
from app.api.openai.tokens import TokenizeRequest

PAIRS: list[tuple[type[BaseModel], dict[str, Any], dict[str, Any]]] = [
    (CompletionRequest, {"prompt": "a"}, {"seed": 3, "random_seed": 4}),
    (FimRequest, {"prompt": "a"}, {"seed": 0, "random_seed": 4}),
    (ChatRequest, {"messages": [{"role": "user", "content": "a"}]}, {"max_tokens": 3, "max_completion_tokens": 4}),
    (TokenizeRequest, {"prompt": "a"}, {"add_special_tokens": False, "add_special": True}),
    (ShowRequest, {}, {"model": "dreamon", "name": "llada"}),
]


@pytest.mark.parametrize(("model", "others", "pair"), PAIRS)
def test_two_names_with_two_values_are_refused_and_both_named(
    model: type[BaseModel], others: dict[str, Any], pair: dict[str, Any]
) -> None:
    older, newer = pair
    for given in (pair, dict(reversed(pair.items()))):
        with pytest.raises(ValidationError, match=f"{newer} and {older} say the same in two ways; leave {older} out"):
            model.model_validate(others | given)


@pytest.mark.parametrize(("model", "others", "pair"), PAIRS)
def test_two_names_with_one_value_are_taken(
    model: type[BaseModel], others: dict[str, Any], pair: dict[str, Any]
) -> None:
    older, newer = pair
    for given in ({older: pair[older]}, {newer: pair[newer]}, dict.fromkeys(pair, pair[newer])):
        model.model_validate(others | given)
