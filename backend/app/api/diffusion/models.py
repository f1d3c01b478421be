"""The envelopes of answers, which HTTP adds to the service's data.

The two answers repeat their fields: inherited ones would come first, and the text belongs in front of the metadata.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from app.services.diffusion.models import DiffusionModelInfo, GenerationResult
from app.services.diffusion.reports import CleanupReport, DiffusionModelDetails


class GenerateResponse(BaseModel):
    """The continuation of a text."""

    model_config = ConfigDict(protected_namespaces=())

    success: bool = True
    generated_text: str = Field(description="New text only, never the prompt.")
    model_id: str = Field(description="The model that really answered.")
    processing_time: float = Field(description="Seconds.")
    tokens_generated: int
    metadata: dict[str, Any]

    @classmethod
    def of(cls, result: GenerationResult) -> Self:
        return cls(generated_text=result.text, **result.model_dump(exclude={"text"}))


class InfillResponse(BaseModel):
    """The text between a prefix and a suffix."""

    model_config = ConfigDict(protected_namespaces=())

    success: bool = True
    infilled_text: str = Field(description="New text only, neither prefix nor suffix.")
    model_id: str = Field(description="The model that really answered.")
    processing_time: float = Field(description="Seconds.")
    tokens_generated: int
    metadata: dict[str, Any]

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
