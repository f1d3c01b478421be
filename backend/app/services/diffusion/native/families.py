"""What a request means to each family: its prompt format, its lengths, and the engine's parameters for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.core.parameters import ENGINE_NAMES
from app.engine.decoding.commit.registry import rules_on
from app.engine.interface.params import DecodingParams
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.models import (
    ChatMessage,
    DiffusionChatParams,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionTokensParams,
    Request,
    plain_conversation,
)
from app.text.prompt import PromptIds, chat, continuation, conversation, infilling
from app.text.tokenizer import Tokenizer

MAX_LENGTHS = {"dreamon": 2048, "dream": 2048, "llada": 1024}
"""New tokens at most."""

LLADA_BLOCK_LENGTH = 32
"""Of a continuation: short enough to read while it is written. An infilling is one block."""

DREAMON_MASKS = {"generate": 32, "infill": 8}
"""DreamOn's starting canvas, which then grows and shrinks as the model asks."""


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "llada": {
        "balanced": {"cache": "dual", "cache_refresh": 4},
        "fast": {"cache": "dual", "block_length": 8, "cache_refresh": 16, "confidence_threshold": 0.9},
    },
    "dream": {
        "balanced": {"cache": "dual", "cache_refresh": 8},
        "fast": {"cache": "dual", "cache_refresh": 32},
    },
    "dreamon": {
        "balanced": {"cache": "dual", "cache_refresh": 8},
        "fast": {"cache": "dual", "confidence_threshold": 0.9},
    },
}
"""What `decoding` means to each family where a request does not say otherwise; chosen by benchmarks/quality.py."""


def prompt_ids(
    family: str,
    tokenizer: Tokenizer,
    params: DiffusionGenerationParams | DiffusionInfillingParams,
    room: int | None = None,
) -> PromptIds:
    """The given text as the family was trained to see it.

    Dream family: beginning of text, prefix, masks, suffix, end of text; a continuation has nothing after its masks.
    LLaDA: beginning of text where the tokenizer says so, and nothing after the suffix.
    A conversation: as the checkpoint's chat template writes it, if it has one.

    Args:
        room: tokens of given text that the model can see; a conversation is made to fit. `None`: there is no end to it.

    Raises:
        ChatTemplateError: the template fails, or, as ConversationRefused, it refuses the conversation.
    """
    is_dream = family in ("dream", "dreamon")
    bos = is_dream or tokenizer.adds_bos
    if isinstance(params, DiffusionInfillingParams):
        return infilling(tokenizer, params.prefix, params.suffix, bos=bos, eos=is_dream)
    if isinstance(params, DiffusionTokensParams):
        return PromptIds(tuple(params.token_ids), (), len(params.token_ids))
    if not isinstance(params, DiffusionChatParams):
        return continuation(tokenizer, params.text, bos=bos)
    messages = [message.model_dump() for message in params.messages]
    if tokenizer.chat_template is not None:
        return chat(tokenizer, messages, room=room)

    def encode(kept: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        turns = [ChatMessage.model_validate(message) for message in kept]
        return continuation(tokenizer, plain_conversation(turns), bos=bos).prefix

    return conversation(encode, messages, room=room)


def decoding_params(
    family: str, params: DiffusionGenerationParams | DiffusionInfillingParams, *, end_of_turn: int | None = None
) -> DecodingParams:
    """The request in the engine's words. Every parameter is handed on, so that the engine can refuse what the family
    does not know.

    Raises:
        InvalidParameters: the starting canvas is longer than the answer may be.
    """
    infills = isinstance(params, DiffusionInfillingParams)
    max_length = params.max_length or 1
    preset = PRESETS[family].get(params.decoding or "exact", {})
    block_length = params.block_length or preset.get("block_length", LLADA_BLOCK_LENGTH if family == "llada" else None)
    return replace(
        _as_asked(params),
        top_p=None if params.top_p == 1.0 else params.top_p,
        # A gap is one block: text is on both sides of it.
        block_length=params.block_length if infills else block_length,
        confidence_threshold=_threshold(params, preset),
        eos_never_predicted=family != "dreamon" and (_has_text_behind(params) or bool(params.ignore_eos)),
        end_of_turn=None if params.ignore_eos else end_of_turn,
        cache=params.cache or _cache(params, preset),
        cache_refresh=params.cache_refresh or preset.get("cache_refresh"),
        initial_masks=_initial_masks(family, params, max_length),
        mask_lengths=candidate_lengths(max_length) if infills and family != "dreamon" else (),
    )


def _as_asked(params: Request) -> DecodingParams:
    """What a request says, by the engine's names; nothing is filled in yet."""
    asked = {engine_name: getattr(params, name) for name, engine_name in ENGINE_NAMES.items()}
    given = {engine_name: value for engine_name, value in asked.items() if value is not None}
    return DecodingParams(**{"max_new_tokens": 1, **given})


def _threshold(params: Request, preset: dict[str, Any]) -> float | None:
    """A preset's gives way to any other rule of the request's own."""
    if params.confidence_threshold is not None:
        return params.confidence_threshold
    has_own_rule = any(rule.REFINES is None for rule in rules_on(params))
    has_own_rule |= params.steps is not None or params.algorithm == "random"
    return None if has_own_rule else preset.get("confidence_threshold")


def _cache(params: Request, preset: dict[str, Any]) -> str:
    """A preset's gives way to a rule that excludes it."""
    is_excluded = any("cache" in rule.EXCLUDES for rule in rules_on(params))
    return "none" if is_excluded else preset.get("cache", "none")


def check_combination(params: Request, decoding: DecodingParams) -> None:
    """Refuses what one field of a request would make another one do nothing. What comes from a preset or is a default
    gives way instead, so the engine is not asked.

    Args:
        decoding: what the request became.

    Raises:
        InvalidParameters: names both fields.
    """
    if params.cache_refresh is not None and decoding.cache == "none":
        raise InvalidParameters(
            f"cache_refresh={params.cache_refresh} refreshes a cache, and there is none; give a cache, or leave it out",
            field="cache_refresh",
        )
    if params.algorithm == "random" and (on := rules_on(decoding)):
        rule = on[0].PARAMETER
        raise InvalidParameters(
            f"{rule} goes by how sure the model is, and algorithm='random' by chance; leave one out", field=rule
        )
    if params.algorithm == "origin" and params.alg_temp:
        raise InvalidParameters(
            f"alg_temp={params.alg_temp:g} weighs scores, and algorithm='origin' has none; leave one out",
            field="alg_temp",
        )
    near, threshold = params.local_threshold, params.confidence_threshold
    if near is not None and threshold is not None and near >= threshold:
        raise InvalidParameters(
            f"local_threshold={near:g} does nothing beside confidence_threshold={threshold:g}; it has to be below",
            field="local_threshold",
        )


def _has_text_behind(params: DiffusionGenerationParams | DiffusionInfillingParams) -> bool:
    return isinstance(params, DiffusionInfillingParams) and bool(params.suffix)


def candidate_lengths(max_length: int) -> tuple[int, ...]:
    """The spans that a family of fixed length tries for a gap: the powers of two and their 1.5-fold below `max_length`,
    then `max_length` itself. So the true length is missed by a quarter of it at most.
    """
    powers = [2**exponent for exponent in range(max_length.bit_length())]
    candidates = {*powers, *(3 * power // 2 for power in powers if power > 1)}
    return (*sorted(length for length in candidates if length < max_length), max_length)


def _initial_masks(
    family: str, params: DiffusionGenerationParams | DiffusionInfillingParams, max_length: int
) -> int | None:
    if params.initial_masks is not None and params.initial_masks > max_length:
        raise InvalidParameters(
            f"initial_masks={params.initial_masks} is above max_length={max_length}; the canvas starts no longer than "
            "the answer may become",
            field="initial_masks",
        )
    if params.initial_masks is not None or family != "dreamon":
        return params.initial_masks
    operation = "infill" if isinstance(params, DiffusionInfillingParams) else "generate"
    return min(DREAMON_MASKS[operation], max_length)
