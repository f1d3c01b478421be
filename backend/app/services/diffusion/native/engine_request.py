"""The engine's job, made of a prepared request and the ids of its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from app.engine.constraint.footprint import most_at_once
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.services.diffusion.base import Prepared
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.models import DiffusionGenerationParams, Params
from app.text.prompt import PromptIds
from app.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from app.engine.constraint.automaton import TokenAutomaton
    from app.engine.models.base import ModelConfig


def engine_request(
    name: str,
    prepared: Prepared,
    prompt: PromptIds,
    config: ModelConfig,
    adapter: str | None = None,
    automaton: TokenAutomaton | None = None,
) -> GenerationRequest:
    """The job for the engine.

    Args:
        name: what the engine calls the request.
        config: of the checkpoint that has prepared it.
        adapter: what the engine calls the adapter.
        automaton: the texts that the answer may be.
    """
    assert prepared.decoding is not None, "prepared by this model"
    params = prepared.params
    return GenerationRequest(
        request_id=name,
        prefix=prompt.prefix,
        suffix=prompt.suffix,
        params=prepared.decoding if automaton is None else _within_bounds(prepared, automaton),
        open_ended=isinstance(params, DiffusionGenerationParams),
        snapshots=params.stream_mode == "canvas",
        num_logprobs=params.logprobs,
        constraint=automaton,
        adapter=adapter,
        checked_for=config,
    )


def _within_bounds(prepared: Prepared, automaton: TokenAutomaton) -> DecodingParams:
    """The parameters, with blocks no longer than a constraint lets a step predict. A length that the client asks for is
    not changed: the engine refuses it."""
    params, decoding = prepared.params, prepared.decoding
    assert isinstance(params, Params), "only texts that are written have constraints"
    assert decoding is not None, "prepared by this model"
    if params.block_length is not None or decoding.block_length is None:
        return decoding
    return replace(decoding, block_length=min(decoding.block_length, most_at_once(automaton)))


def check_bias(logit_bias: Mapping[int, float], tokenizer: Tokenizer) -> None:
    """Raises InvalidParameters for the first id that no token of the model has."""
    for token_id in logit_bias:
        if token_id >= tokenizer.vocab_size:
            raise InvalidParameters(
                f"logit_bias has {token_id}, {_no_token(tokenizer)}",
                field="logit_bias",
            )


def check_ids(token_ids: Sequence[int], tokenizer: Tokenizer) -> None:
    """Raises InvalidParameters for the first id that stands for no text."""
    check_known(token_ids, tokenizer)
    if tokenizer.mask_id in token_ids:
        raise InvalidParameters(
            f"token_ids has the mask at index {token_ids.index(tokenizer.mask_id)}, which stands for text that is "
            "still to be written",
            field="token_ids",
        )


def check_known(token_ids: Sequence[int], tokenizer: Tokenizer) -> None:
    """Raises InvalidParameters for the first id that no token of the model has."""
    for index, token_id in enumerate(token_ids):
        if not 0 <= token_id < tokenizer.vocab_size:
            raise InvalidParameters(
                f"token_ids has {token_id} at index {index}, {_no_token(tokenizer)}",
                field="token_ids",
            )


def _no_token(tokenizer: Tokenizer) -> str:
    size = tokenizer.vocab_size
    return f"which is no token of this model; its {size} ids are 0 to {size - 1}"
