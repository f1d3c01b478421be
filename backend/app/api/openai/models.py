"""`/v1/models`: which models can be asked for."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.services.diffusion import DiffusionLLMService
from app.services.diffusion.reports import DiffusionModelDetails

OWNER = "reynard-diffusion"


class Model(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(0, description="Unknown, and always 0.")
    owned_by: str = OWNER
    parent: str | None = Field(None, description="The model whose weights it shares, where it is an adapter.")
    is_available: bool = Field(description="Where it is not, another model answers, unless that is switched off.")
    context_length: int | None = Field(description="Tokens that it sees at a time; null until it is loaded.")
    max_output_length: int = Field(description="The greatest `max_tokens`.")
    capabilities: list[str] = Field(
        description="Operations that it is known to answer: `generate`, `infill` (with a `suffix`), `chat`."
    )

    @classmethod
    def of(cls, details: DiffusionModelDetails) -> Model:
        return cls(
            id=details.model_id,
            parent=details.base_model,
            is_available=details.is_available,
            context_length=details.context_length,
            max_output_length=details.max_length,
            capabilities=details.capabilities,
        )


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


def list_models(service: DiffusionLLMService) -> ModelList:
    """The models of the service, in OpenAI's words."""
    return ModelList(data=[Model.of(details) for details in service.model_details()])
