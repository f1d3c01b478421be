"""Biases as pairs: what they may be, and which biases of ids they become."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from app.api.bodies.biases import with_biased_ids
from app.api.errors.table import InvalidBody
from app.api.llama_cpp.requests import InfillRequest
from app.api.openai.requests import ChatRequest, CompletionRequest
from app.services.diffusion.tokens import Encoding, Tokens

TURNS = [{"role": "user", "content": "a"}]


class Letters:
    """A tokenizer whose tokens are the characters themselves."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def encode(self, encoding: Encoding, model_id: str | None) -> Tokens:
        self.asked.append(model_id)
        assert not encoding.begins
        assert not encoding.parses_special
        text = str(encoding.text)
        return Tokens(tuple(map(ord, text)), tuple(text), tuple(letter.encode() for letter in text))


async def ids_of(biases: Any, letters: Letters | None = None) -> Any:
    service: Any = SimpleNamespace(tokenizers=letters or Letters())
    asked = CompletionRequest.model_validate({"model": "m", "prompt": "a", "logit_bias": biases})
    return (await with_biased_ids(asked, service)).params(100)[0].logit_bias


@pytest.mark.parametrize(
    ("pairs", "ids"),
    [
        ([], {}),
        ([[7, 1.5], [8, -1]], {7: 1.5, 8: -1.0}),
        ([[7, False], [8, 0]], {7: -100.0, 8: 0.0}),
        ([[7, 1e9], [8, -1000]], {7: 100.0, 8: -100.0}),
        ([["7", 2]], {ord("7"): 2.0}),
        ([["abba", 2]], {ord("a"): 2.0, ord("b"): 2.0}),
        ([["ab", 2], ["a", 3], [ord("b"), -5]], {ord("a"): 5.0, ord("b"): -3.0}),
        ([["a", 80], ["a", 80]], {ord("a"): 100.0}),
        ([["a", 90], ["a", 90], ["a", -90]], {ord("a"): 90.0}),
        ([["a", -60], ["a", -60], ["a", 50]], {ord("a"): -70.0}),
        ([["a", 80], ["a", False], ["a", 80]], {ord("a"): -100.0}),
        ({"7": -100}, {7: -100.0}),
        ({"12345678901": 1}, {12345678901: 1.0}),
    ],
)
async def test_pairs_become_biases_of_ids(pairs: Any, ids: dict[int, float]) -> None:
    assert await ids_of(pairs) == ids


async def test_texts_are_tokens_of_the_model_that_is_asked_and_ids_ask_nobody() -> None:
    letters = Letters()
    assert await ids_of([[1, 2], ["a", 1]], letters) == {1: 2.0, ord("a"): 1.0}
    assert letters.asked == ["m"]


async def test_texts_of_too_many_tokens_are_refused() -> None:
    long = ["".join(map(chr, range(first, first + 200))) for first in (300, 600)]
    with pytest.raises(InvalidBody, match="logit_bias has 400 items, more than the maximum of 300"):
        await ids_of([[text, 1] for text in long])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[7]], "logit_bias[0][1] is missing"),
        ([[7, 1, 2]], "logit_bias[0] has 3 items, more than the maximum of 2"),
        ([[7, 1], "a"], "logit_bias[1]='a' must be a list"),
        ([[-1, 1]], "logit_bias[0][0]=-1 is below the minimum of 0"),
        ([["", 1]], "logit_bias[0][0] is empty; at least 1 character is needed"),
        ([["a" * 201, 1]], "logit_bias[0][0] has 201 characters, more than the maximum of 200"),
        ([[7.0, 1]], "logit_bias[0][0]=7.0 must be an integer or a string"),
        ([[7, True]], "logit_bias[0][1]=true must be a number or false"),
        ([[7, None]], "logit_bias[0][1]=null must be a number or false"),
        ([[7, 1]] * 301, "logit_bias has 301 items, more than the maximum of 300"),
        (7, "logit_bias=7 must be an object"),
        ({"-1": 1}, "logit_bias.-1='-1' is below the minimum of 0"),
        ({"1.5": 1}, "logit_bias.1.5='1.5' must be an integer"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "rest"), [(CompletionRequest, {"prompt": "a"}), (ChatRequest, {"messages": TURNS}), (InfillRequest, {})]
)
def test_what_is_no_pair_is_named(kind: Any, rest: dict[str, Any], pairs: Any, message: str) -> None:
    body = {**rest, "logit_bias": pairs}
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(body)
    assert [error.message for error in InvalidBody.of(caught.value, body).errors] == [message]
