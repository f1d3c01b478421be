"""Cache plans by the names that requests give them: one line each."""

from __future__ import annotations

from app.engine.cache.exact import ExactCache
from app.engine.cache.fast_dllm import DualCache, PrefixCache
from app.engine.cache.plan import MakePlan, NoCache
from app.engine.cache.span_cache import SpanCache

NO_CACHES: dict[str, MakePlan] = {"none": NoCache}
"""The plans for samplers that compute the whole canvas at every step."""

BLOCK_CACHES: dict[str, MakePlan] = {"none": NoCache, "prefix": PrefixCache, "dual": DualCache}
"""The plans for samplers that denoise blocks from left to right."""

SPAN_CACHES: dict[str, MakePlan] = {"none": NoCache, "dual": SpanCache}
"""The plans for samplers that denoise all of the span together."""

EXACT_CACHES: dict[str, MakePlan] = {"none": ExactCache}
"""The plan for samplers of models that see nothing to the right of a block: an exact one, and always on."""


def stores(make_plan: MakePlan) -> bool:
    """Whether anything is cached by such a plan."""
    return make_plan is not NoCache
