"""What HTTP adds to the service's data: the envelopes of its answers."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from app.services.diffusion.models import (
    CleanupReport,
    DiffusionModelDetails,
    DiffusionModelInfo,
    GenerationResult,
)


class Answer(BaseModel):
    """What the answers to both kinds of request have in common."""

    model_config = ConfigDict(protected_namespaces=())

    success: bool = True
    model_id: str = Field(description="The model that really answered.")
    processing_time: float = Field(description="Seconds.")
    tokens_generated: int
    metadata: dict[str, Any]


class GenerateResponse(Answer):
    """The continuation of a text."""

    generated_text: str = Field(description="New text only, never the prompt.")

    @classmethod
    def of(cls, result: GenerationResult) -> Self:
        return cls(generated_text=result.text, **result.model_dump(exclude={"text"}))


class InfillResponse(Answer):
    """What stands between a prefix and a suffix."""

    infilled_text: str = Field(description="New text only, neither prefix nor suffix.")

    @classmethod
    def of(cls, result: GenerationResult) -> Self:
        return cls(infilled_text=result.text, **result.model_dump(exclude={"text"}))


class ModelList(BaseModel):
    models: list[DiffusionModelInfo]


class ModelDetailsList(BaseModel):
    models: list[DiffusionModelDetails]


class ReloadResponse(BaseModel):
    success: bool = True
    model: DiffusionModelDetails


class CleanupResponse(CleanupReport):
    success: bool = True
