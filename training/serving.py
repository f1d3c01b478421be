"""Lets the service write in this process, as a client would see it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.services.diffusion.diffusion_service import DiffusionLLMService
from app.services.diffusion.models import GenerationResult
from app.services.diffusion.requests.generation import Generation

AT_ONCE = 8


async def written(model: str, checkpoint: Path, calls: Sequence[Mapping[str, Any]]) -> list[GenerationResult]:
    """The answers of the service by its defaults; the number of a call, which is the parameters, is its seed."""
    service = DiffusionLLMService()
    await service.initialize({"diffusion": {"enabled": True, f"{model}_path": str(checkpoint)}})
    try:
        answers = []
        for start in range(0, len(calls), AT_ONCE):
            numbered = enumerate(calls[start : start + AT_ONCE], start)
            answers += await asyncio.gather(*(_call(service, call, model_id=model, seed=i) for i, call in numbered))
    finally:
        await service.close()
    return answers


def _call(service: DiffusionLLMService, call: Mapping[str, Any], **common: Any) -> Generation:
    start = service.infill_stream if "suffix" in call else service.generate_stream
    return start(**call, **common)
