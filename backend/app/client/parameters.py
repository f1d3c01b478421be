"""What a request may ask for besides its text; bounds and meaning are those of the service's own models."""

from __future__ import annotations

from typing import Literal, TypedDict


class Parameters(TypedDict, total=False):
    """What is left out takes the server's default."""

    model_id: str
    max_length: int
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    seed: int
    steps: int
    block_length: int
    algorithm: str
    alg_temp: float
    confidence_threshold: float
    confidence_factor: float
    entropy_bound: float
    local_threshold: float
    stability_bound: float
    revoke_threshold: float
    cfg_scale: float
    decoding: Literal["exact", "balanced", "fast"]
    cache: Literal["none", "prefix", "dual"]
    cache_refresh: int
    initial_masks: int
    stop: str | list[str]
    ignore_eos: bool
    logprobs: int
    stream_mode: Literal["text", "canvas"]
