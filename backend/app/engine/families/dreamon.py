"""DreamOn (arXiv 2602.01326): Dream's network with a token that lengthens the canvas, and one that shortens it."""

from __future__ import annotations

from app.engine.decoding.variable_length import VariableLengthSampler
from app.engine.families.base import Family
from app.engine.families.span import GrowingSpan
from app.engine.models import dream
from app.engine.models.qwen import Qwen

DREAMON = Family(
    name="dreamon",
    published_names=("DreamOn", "DreamOnModel", "Dream", "DreamModel"),
    is_variant=lambda raw: raw.get("expand_token_id") is not None,
    parse_config=dream.parse_config,
    build=Qwen,
    sampler=VariableLengthSampler,
    span=GrowingSpan(default_length=16),
    parameters=frozenset(
        {"alg_temp", "transfers_per_step", "initial_masks", "expand_budget", "pad_delete_to_right"},
    ),
)
