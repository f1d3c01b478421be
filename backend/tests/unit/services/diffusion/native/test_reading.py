"""Texts with holes, read by real tiny checkpoints through the service."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch

from app.engine.families.checkpoint import load_model
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from app.services.diffusion import DiffusionLLMService, InvalidParameters
from app.services.diffusion.native import reading
from app.services.diffusion.native.loading import family_at
from app.services.diffusion.reading import DiffusionReadParams
from app.text.tokenizer import Tokenizer
from tests.unit.services.diffusion.content_filter.test_content_filter import Shouting

VECTORS = Path(__file__).parents[4] / "conformance" / "vectors"
FOLDERS = {
    "llada": "llada-tiny",
    "dreamon": "dreamon-tiny",
    "dream": "dream-tiny",
    "sdar": "block/sdar-tiny",
    "diffcoder": "block/stable-diffcoder-tiny",
    "fast": "block/fast-dllm-v2-tiny",
}
models = pytest.mark.parametrize("model_id", FOLDERS)


@pytest.fixture
async def service() -> AsyncIterator[DiffusionLLMService]:
    own = ("llada", "dreamon")
    extra = ",".join(f"{name}={VECTORS / folder}" for name, folder in FOLDERS.items() if name not in own)
    paths = {f"{name}_path": str(VECTORS / FOLDERS[name]) for name in own}
    service = DiffusionLLMService()
    await service.initialize({**paths, "extra_models": extra, "device_preference": "cpu", "preload": "default"})
    yield service
    await service.close()


async def read(service: DiffusionLLMService, *parts: Any, **fields: Any) -> dict[str, Any]:
    params = DiffusionReadParams.model_validate({"parts": list(parts), **fields})
    return dict((await service.read(params)).metadata)


def plain_logprobs(model_id: str, ids: list[int], position: int) -> torch.Tensor:
    model = load_model(VECTORS / FOLDERS[model_id], torch.device("cpu"), torch.float32)
    runner = ModelRunner(model, cpu_runtime="torch")
    with torch.inference_mode():
        return runner.logits([SequenceInput(ids, [position])])[0].log_softmax(-1)


def begins(model_id: str) -> bool:
    family = family_at(str(VECTORS / FOLDERS[model_id]))
    assert family is not None
    return family.always_begins or tokens_of(model_id).adds_bos


def tokens_of(model_id: str) -> Tokenizer:
    return Tokenizer.load(VECTORS / FOLDERS[model_id])


@models
async def test_choices_have_the_probabilities_of_a_plain_pass(model_id: str, service: DiffusionLLMService) -> None:
    tokenizer = tokens_of(model_id)
    answer = await read(service, "The s", {"hole": "x", "choices": ["a", "b", "c"]}, model_id=model_id)
    begin = [tokenizer.require("bos")] if begins(model_id) else []
    given = [*begin, *tokenizer.encode("The s")]
    mask = tokenizer.mask_id
    assert mask is not None
    plain = plain_logprobs(model_id, [*given, mask], len(given))
    wanted = [float(plain[tokenizer.encode(text)[0]]) for text in "abc"]
    hole = answer["holes"]["x"]
    assert hole["method"] == "marginal"
    assert [choice["logprob"] for choice in hole["choices"]] == pytest.approx(wanted, abs=1e-4)
    assert hole["log_mass"] == pytest.approx(math.log(sum(map(math.exp, wanted))), abs=1e-4)
    assert answer["denoising_steps"] == 1
    assert answer["prompt_tokens"] == len(given)


@models
async def test_a_choice_of_several_tokens_is_read_from_left_to_right(
    model_id: str, service: DiffusionLLMService
) -> None:
    tokenizer = tokens_of(model_id)
    text = "Ωb"  # more than one token of any vocabulary
    ids, mask = list(tokenizer.encode(text)), tokenizer.mask_id
    assert mask is not None
    assert len(ids) > 1
    answer = await read(service, "The s", {"hole": "x", "choices": [text, "a"]}, model_id=model_id)
    begin = [tokenizer.require("bos")] if begins(model_id) else []
    given = [*begin, *tokenizer.encode("The s")]
    wanted = 0.0
    for step, token_id in enumerate(ids):
        canvas = [*given, *ids[:step], *[mask] * (len(ids) - step)]
        wanted += float(plain_logprobs(model_id, canvas, len(given) + step)[token_id])
    hole = answer["holes"]["x"]
    assert hole["method"] == "left_to_right"
    assert hole["choices"][0] == {"text": text, "logprob": pytest.approx(wanted, abs=1e-3), "tokens": len(ids)}
    assert hole["log_mass"] is None
    assert answer["denoising_steps"] == 1


async def test_choices_that_are_longer_than_the_hole_have_canvases_of_their_own(service: DiffusionLLMService) -> None:
    alone = await read(service, "It was ", {"hole": "x", "choices": ["Ωb"]})
    masks = {"hole": "x", "choices": ["Ωb"], "masks": 1}
    assert (await read(service, "It was ", masks))["holes"]["x"]["choices"] == alone["holes"]["x"]["choices"]
    beside = await read(service, "It was ", masks, " and ", {"hole": "y"}, model_id="dreamon")
    assert beside["denoising_steps"] == 1


async def test_all_holes_of_a_request_are_read_in_one_pass(service: DiffusionLLMService) -> None:
    holes = [{"hole": f"q{number}", "choices": ["a", "b"]} for number in range(8)]
    parts = [part for hole in holes for part in ("Is it?", hole)]
    answer = await read(service, *parts, {"hole": "open", "masks": 2}, top=3)
    assert answer["denoising_steps"] == 1
    assert list(answer["holes"]) == [*(hole["hole"] for hole in holes), "open"]
    tokens = answer["holes"]["open"]["tokens"]
    assert [len(row) for row in tokens] == [3, 3]
    assert all(row[0]["logprob"] >= row[1]["logprob"] >= row[2]["logprob"] for row in tokens)


async def test_a_read_is_the_same_alone_and_with_others(service: DiffusionLLMService) -> None:
    parts = ("It was ", {"hole": "x", "masks": 2}, " and ", {"hole": "y", "choices": ["a", "bc"]}, ".")
    alone = (await read(service, *parts))["holes"]
    others = [service.generate_stream(f"Once {number}", max_length=20, temperature=1.0) for number in range(3)]
    answers = await asyncio.gather(*(read(service, *parts) for _ in range(8)), *map(_text, others))
    assert [answer["holes"] for answer in answers[:8] if isinstance(answer, dict)] == [alone] * 8


async def _text(generation: Any) -> str:
    return str(await generation)


async def test_of_a_long_text_what_is_far_from_the_holes_is_left_out(service: DiffusionLLMService) -> None:
    answer = await read(service, "ab " * 3000, {"hole": "x", "choices": ["a"]}, model_id="dream")
    assert answer["truncated_prompt_tokens"] > 0


async def test_holes_too_far_apart_for_the_context_are_refused(service: DiffusionLLMService) -> None:
    with pytest.raises(InvalidParameters, match="ask in several requests"):
        await read(service, {"hole": "x"}, "ab " * 3000, {"hole": "y"}, model_id="dream")


async def test_choices_that_need_too_many_canvases_are_refused(
    service: DiffusionLLMService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_TOKENS", 20)
    with pytest.raises(InvalidParameters, match="fewer or shorter choices"):
        await read(service, "a text", {"hole": "x", "choices": ["Ωabc", "Ωdef"]})


async def test_a_content_filter_sees_texts_and_choices_and_forbids_open_holes(service: DiffusionLLMService) -> None:
    service.content_filter = Shouting()
    try:
        answer = await read(service, "x", {"hole": "h", "choices": ["a"]})
        with pytest.raises(InvalidParameters, match="give it choices"):
            await read(service, "x", {"hole": "h"})
    finally:
        service.content_filter = None
    assert answer["holes"]["h"]["choices"][0]["text"] == "<a>"


async def test_a_read_is_counted_once_as_successful_and_a_mistake_as_refused(service: DiffusionLLMService) -> None:
    before = service.statistics()
    await read(service, "x", {"hole": "h"})
    with pytest.raises(InvalidParameters):
        await read(service, {"hole": "x"}, "ab " * 3000, {"hole": "y"}, model_id="dream")
    after = service.statistics()
    assert after.successful_requests == before.successful_requests + 1
    assert after.refused_requests == before.refused_requests + 1
    assert after.failed_requests == before.failed_requests
    assert after.requests_in_flight == 0
