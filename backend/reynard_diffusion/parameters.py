"""The parameters of a request, made from app/core/parameters.py by docs/build_client_parameters.py."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class ConstraintBody(TypedDict, total=False):
    """A constraint as JSON: exactly one of the three."""

    json_schema: dict[str, Any] | bool
    regex: str
    choices: list[str]


class Parameters(TypedDict, total=False):
    """The parameters of a request besides its text; those left out take the server's default."""

    max_length: int
    """`max_length` (1 to 2048): New tokens at most: up to 2048 with dreamon, 1024 with llada."""
    temperature: float
    """`temperature` (0.0 to 2.0): 0 is greedy and deterministic."""
    top_p: float
    """`top_p` (0.1 to 1.0): The most probable tokens that reach this probability; 1 is all."""
    top_k: int
    """`top_k` (1 to 100): The most probable tokens, at most so many."""
    min_p: float
    """`min_p` (0.0 to 1.0): Only tokens at least so probable, beside the most probable one; 0 is all."""
    repetition_penalty: float
    """`repetition_penalty` (1.0 to 2.0): Makes tokens that are in the text less probable; 1 is none."""
    frequency_penalty: float
    """`frequency_penalty` (-2.0 to 2.0): Taken from a token's logit for each time that it is in the new text."""
    presence_penalty: float
    """`presence_penalty` (-2.0 to 2.0): Taken from a token's logit where it is in the new text."""
    no_repeat_ngram_size: int
    """`no_repeat_ngram_size` (0 to 32): No token that would write a run of so many tokens once more; 0 is none."""
    logit_bias: dict[int, float]
    """`logit_bias`: Added to tokens' logits, by their ids: -100, which bans one, to 100; 300 of them."""
    seed: int
    """`seed` (0 to 9223372036854775807): Fixes the output; chosen and reported if absent."""
    steps: int
    """`steps` (1 to 4096): Denoising steps at most; default one per new token."""
    block_length: int
    """`block_length` (1 to 2048): Masks denoised together, left to right; more where there would be more blocks than
    steps. Block-causal models: positions that see each other; default the checkpoint's."""
    steps_per_block: int
    """`steps_per_block` (1 to 4096): Denoising steps of each block, instead of `steps`; default one per position."""
    sub_block_length: int
    """`sub_block_length` (1 to 2048): Fast-dLLM v2: positions of a block denoised together; default 8."""
    algorithm: str
    """`algorithm` (up to 40 characters): How positions are chosen."""
    alg_temp: float
    """`alg_temp` (0.0 to 10.0): Randomness in choosing positions."""
    confidence_threshold: float
    """`confidence_threshold` (above 0.0, up to 1.0): Commit everything at least so sure."""
    confidence_factor: float
    """`confidence_factor` (above 0.0, up to 100.0): Commit the n most confident while (n + 1)(1 - the n-th) is below
    it."""
    confidence_margin: float
    """`confidence_margin` (0.0 to 1.0): Commit the n most confident while all of them together lead by more than it."""
    entropy_bound: float
    """`entropy_bound` (0.0 to 100.0): Commit the most confident whose entropy adds up to at most so many nats."""
    local_threshold: float
    """`local_threshold` (above 0.0, up to 1.0): With confidence_threshold: enough beside a position that reaches it."""
    stability_bound: float
    """`stability_bound` (above 0.0, up to 100.0): With confidence_threshold: commit where predictions moved by fewer
    nats."""
    revoke_threshold: float
    """`revoke_threshold` (above 0.0, up to 1.0): With confidence_threshold: take back commits that turn out less
    sure."""
    cfg_scale: float
    """`cfg_scale` (0.0 to 10.0): Classifier-free guidance."""
    initial_masks: int
    """`initial_masks` (1 to 2048): DreamOn's starting canvas."""
    cache: Literal["none", "prefix", "dual"]
    """`cache`: What is kept from step to step instead of being computed anew; default as `decoding` says."""
    cache_refresh: int
    """`cache_refresh` (1 to 4096): Compute everything anew every so many blocks (llada) or steps (dreamon)."""
    model_id: str
    """`model_id` (up to 200 characters): Which model answers."""
    decoding: Literal["exact", "balanced", "fast"]
    """`decoding`: exact is the published sampler; the others approximate it, for speed."""
    stop: str | list[str]
    """`stop`: Text before which the answer ends."""
    ignore_eos: bool
    """`ignore_eos`: Write on up to `max_length`, for measurements; without effect on DreamOn."""
    logprobs: int
    """`logprobs` (0 to 20): Tell each token's log-probability, and so many alternatives."""
    stream_mode: Literal["text", "canvas"]
    """`stream_mode`: canvas adds step events."""
    constraint: ConstraintBody
    """`constraint`: What the answer has to be: valid by a schema, say."""
