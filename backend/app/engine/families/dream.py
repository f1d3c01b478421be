"""Dream (arXiv 2508.15487): the whole span at once, by a time schedule. Also Dream-Coder and DiffuCoder."""

from __future__ import annotations

from app.engine.decoding.timestep import TimestepSampler
from app.engine.families.base import Family
from app.engine.families.span import FixedSpan
from app.engine.models import dream
from app.engine.models.qwen import Qwen

DREAM = Family(
    name="dream",
    published_names=("Dream", "DreamModel", "DreamOn", "DreamOnModel"),
    # DreamReasoner shares the name, and is block-causal.
    is_variant=lambda raw: raw.get("expand_token_id") is None and raw.get("block_size") is None,
    parse_config=dream.parse_config,
    build=Qwen,
    sampler=TimestepSampler,
    span=FixedSpan(),
    parameters=frozenset({"alg_temp", "transfer_counts", "timestep_eps", "eos_never_predicted", "mask_lengths"}),
)
