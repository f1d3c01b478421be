"""`logit_bias` in both of its spellings: OpenAI's object, and the list of pairs of llama.cpp's server.

    {"198": -100, "5": 2}                         ids to biases
    [[198, false], [5, 2], [" the", -0.5]]        an id or a text, and a bias or `false`, which is never

A text stands for all of its tokens, each of them once. Biases of the same token add up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol, Self, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Strict, Tag

from app.api.bodies.unsupported import FIRST_ONLY
from app.services.diffusion import DiffusionLLMService
from app.services.diffusion.models import MAX_BIAS, MAX_BIASED_TOKENS, MAX_STOP_CHARACTERS, LogitBias
from app.services.diffusion.tokens import Encoding


def _within_bounds(bias: Any) -> Any:
    """The bias. llama.cpp's server has no bounds, so what is beyond ours means the bound."""
    is_number = isinstance(bias, int | float) and not isinstance(bias, bool)
    return min(max(bias, -MAX_BIAS), MAX_BIAS) if is_number else bias


BiasedToken = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Never = Annotated[Literal[False], AfterValidator(lambda _: -MAX_BIAS)]
PairedBias = Annotated[  # in this order: `Never` would take 0
    Annotated[float, BeforeValidator(_within_bounds)] | Never, Field(union_mode="left_to_right")
]
BiasPair = Annotated[tuple[BiasedToken, PairedBias], Strict(False)]
"""A pair, which JSON writes as a list."""
BiasPairs = Annotated[list[BiasPair], FIRST_ONLY, Field(max_length=MAX_BIASED_TOKENS)]

Biases: TypeAlias = Annotated[
    Annotated[LogitBias, Tag("ids")] | Annotated[BiasPairs, Tag("pairs")],
    Discriminator(lambda biases: "pairs" if isinstance(biases, list) else "ids"),
]


class Biased(Protocol):
    """A body that has such a field."""

    @property
    def model(self) -> str | None: ...

    @property
    def logit_bias(self) -> Biases | None: ...

    def model_copy(self, *, update: Mapping[str, Any]) -> Self: ...


B = TypeVar("B", bound=Biased)


async def with_biased_ids(asked: B, service: DiffusionLLMService) -> B:
    """The body with its pairs as ids and biases, which is how the service takes them.

    Raises:
        ServiceError: there are texts, and the model that is asked does not say what their tokens are.
    """
    pairs = asked.logit_bias
    if not isinstance(pairs, list):
        return asked
    ids = await asyncio.gather(*(_ids(service, asked.model, token) for token, _ in pairs))
    biases = [(token_id, bias) for each, (_, bias) in zip(ids, pairs, strict=True) for token_id in each]
    return asked.model_copy(update={"logit_bias": _summed(biases)})


async def _ids(service: DiffusionLLMService, model_id: str | None, token: int | str) -> Sequence[int]:
    if isinstance(token, int):
        return [token]
    return list(dict.fromkeys((await service.tokenizers.encode(Encoding(token), model_id)).ids))


def _summed(biases: Sequence[tuple[int, float]]) -> dict[int, float]:
    """The sums within bounds, whatever the order of the biases; a token that is banned stays banned."""
    sums: dict[int, float] = {}
    for token_id, bias in biases:
        sums[token_id] = sums.get(token_id, 0.0) + bias
    banned = {token_id for token_id, bias in biases if bias == -MAX_BIAS}
    return {token_id: -MAX_BIAS if token_id in banned else _within_bounds(total) for token_id, total in sums.items()}
