"""Likelihoods of texts, estimated by real tiny checkpoints through the service."""

from __future__ import annotations

import asyncio
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from app.engine.canvas.masking import draw_samples
from app.services.diffusion import DiffusionLLMService, InvalidParameters
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.native import likelihood
from tests.unit.services.diffusion.native.test_reading import begins, plain_logprobs, service, tokens_of

__all__ = ["service"]


async def scored(service: DiffusionLLMService, **fields: Any) -> list[dict[str, Any]]:
    result = await service.likelihood(DiffusionLikelihoodParams.model_validate(fields))
    return list(result.metadata["likelihoods"])


def expected_bound(model_id: str, prefix: list[int], ids: list[int], start: int) -> float:
    """The mean over all numbers of masks and all choices of them, by plain passes; the text is prefix[start:] + ids."""
    mask = tokens_of(model_id).require("mask")
    whole, num = [*prefix, *ids], len(ids)
    total = 0.0
    for count in range(1, num + 1):
        losses = []
        for masked in combinations(range(start, start + num), count):
            seen = [mask if index in masked else token_id for index, token_id in enumerate(whole)]
            losses.append(sum(float(plain_logprobs(model_id, seen, index)[whole[index]]) for index in masked))
        total += float(np.mean(losses)) * num / count / num
    return total


@pytest.mark.parametrize("model_id", ["llada", "dream", "dreamon"])
async def test_many_samples_come_to_the_exact_bound(model_id: str, service: DiffusionLLMService) -> None:
    tokenizer = tokens_of(model_id)
    text = tokenizer.decode(tokenizer.encode("abc def")[:3])
    begin = [tokenizer.require("bos")] if begins(model_id) else []
    prefix, ids = [*begin, *tokenizer.encode("x ")], tokenizer.encode(text)
    (found,) = await scored(service, model_id=model_id, prefix="x ", texts=[text], num_samples=1024)
    expected = expected_bound(model_id, prefix, ids, len(prefix))
    assert found["tokens"] == len(ids)
    assert found["log_likelihood"] == pytest.approx(expected, abs=4 * found["standard_error"] + 1e-4)


@pytest.mark.parametrize("model_id", ["sdar", "diffcoder"])
async def test_blocks_are_predicted_from_the_clean_blocks_before(model_id: str, service: DiffusionLLMService) -> None:
    tokenizer = tokens_of(model_id)
    ids = tokenizer.encode("a b c d")[:6]
    text = tokenizer.decode(ids)
    begin = [tokenizer.require("bos")] if begins(model_id) else []
    config = service._residency.slot(model_id)  # the length of a block is that of the checkpoint
    await config.loaded()
    assert config.instance is not None
    length = config.instance.model.loaded.config.block_length  # type: ignore[attr-defined]
    whole = [*begin, *tokenizer.encode(text)]
    expected = 0.0
    for start, end in likelihood._segments(len(begin), len(whole), length):
        expected += expected_bound(model_id, whole[:start], whole[start:end], start)
    (found,) = await scored(service, model_id=model_id, texts=[text], num_samples=512)
    assert found["log_likelihood"] == pytest.approx(expected, abs=4 * found["standard_error"] + 1e-4)


def test_segments_end_where_blocks_end() -> None:
    assert list(likelihood._segments(2, 7, 4)) == [(2, 4), (4, 7)]
    assert list(likelihood._segments(2, 7, None)) == [(2, 7)]


def test_samples_spread_evenly_vary_less_than_independent_ones() -> None:
    # The loss of a sample of k masks, where later tokens are the easier the more is known.
    def loss(count: int) -> float:
        return 40 - 30 * (1 - count / 32)

    evenly, independent = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        evenly.append(np.mean([loss(len(sample.masked)) for sample in draw_samples(0, 32, 16, rng)]))
        independent.append(np.mean([loss(int(count)) for count in rng.integers(1, 33, 16)]))
    assert np.std(evenly) < np.std(independent) / 2
    assert np.mean(evenly) == pytest.approx(np.mean([loss(count) for count in range(1, 33)]), abs=0.5)


async def test_a_text_has_the_same_likelihood_alone_and_in_a_batch(service: DiffusionLLMService) -> None:
    texts = [" one two", " three", " one two three four"]
    fields = {"model_id": "llada", "prefix": "zero", "num_samples": 8, "seed": 3}
    alone = [(await scored(service, texts=[text], **fields))[0] for text in texts]
    both = await asyncio.gather(scored(service, texts=texts, **fields), scored(service, texts=texts[::-1], **fields))
    assert both[0] == alone
    assert both[1] == alone[::-1]
    assert await scored(service, texts=texts, **{**fields, "seed": 4}) != alone


async def test_what_has_no_likelihood_is_refused_with_the_numbers(service: DiffusionLLMService) -> None:
    with pytest.raises(InvalidParameters, match="the first token of each block"):
        await scored(service, model_id="fast", texts=["a"])
    with pytest.raises(InvalidParameters, match=r"texts\[1\] has \d+ tokens, and the model sees \d+"):
        await scored(service, model_id="llada", texts=["a", "word " * 1900], num_samples=1)
    with pytest.raises(InvalidParameters, match="a request may have 131072"):
        await scored(service, model_id="llada", texts=["some words to score here"] * 64, num_samples=1024)


def test_the_standard_error_is_that_of_neighbours_by_their_number_of_masks() -> None:
    assert likelihood._variance([(12.0, 2), (10.0, 1), (11.0, 3)]) == pytest.approx(5 / 12)
