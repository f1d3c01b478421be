"""Cache plans by the names that requests give them: one line each."""

from __future__ import annotations

from app.engine.cache.fast_dllm import DualCache, PrefixCache
from app.engine.cache.plan import MakePlan, NoCache
from app.engine.cache.span_cache import SpanCache

NO_CACHES: dict[str, MakePlan] = {"none": NoCache}
"""The plans for samplers that compute the whole canvas at every step."""

BLOCK_CACHES: dict[str, MakePlan] = {"none": NoCache, "prefix": PrefixCache, "dual": DualCache}
"""The plans for samplers that denoise blocks from left to right."""

SPAN_CACHES: dict[str, MakePlan] = {"none": NoCache, "dual": SpanCache}
"""The plans for samplers that denoise all of the span together."""
