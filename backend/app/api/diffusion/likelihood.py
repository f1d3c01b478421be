"""The envelope of likelihoods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.api.diffusion.reading import ReadMetadata, picked
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.models import GenerationResult


class LikelihoodOfText(BaseModel):
    """The likelihood of one text behind the prefix."""

    log_likelihood: float = Field(description="The bound on the natural logarithm of its probability, from below.")
    standard_error: float | None = Field(
        description="The standard error of that, from the chosen masks; null for a single sample of several tokens."
    )
    tokens: int
    bytes: int = Field(description="Bytes of the text in UTF-8.")
    bits_per_token: float
    bits_per_byte: float
    truncated_prefix_tokens: int = Field(description="Tokens of the prefix that did not fit the context before it.")


class LikelihoodResponse(BaseModel):
    """The likelihoods of texts."""

    model_config = ConfigDict(protected_namespaces=())

    success: bool = True
    likelihoods: list[LikelihoodOfText] = Field(description="In the order of `texts`.")
    method: Literal["monte_carlo_bound"] = "monte_carlo_bound"
    num_samples: int
    seed: int
    model_id: str = Field(description="The model that really answered.")
    processing_time: float = Field(description="Seconds.")
    metadata: ReadMetadata

    @classmethod
    def of(cls, result: GenerationResult, params: DiffusionLikelihoodParams) -> Self:
        said = result.metadata
        metadata = ReadMetadata(forward_passes=said["denoising_steps"], **picked(said, ReadMetadata))
        return cls(
            likelihoods=[_of_text(each, text) for each, text in zip(said["likelihoods"], params.texts, strict=True)],
            num_samples=params.num_samples,
            seed=params.seed,
            model_id=result.model_id,
            processing_time=result.processing_time,
            metadata=metadata,
        )


def _of_text(likelihood: Mapping[str, Any], text: str) -> LikelihoodOfText:
    r"""The likelihood for each byte of the text as it was sent: a model sees `\n` alone, and what a filter left."""
    num_bytes = len(text.encode())
    bits_per_byte = likelihood["bits_per_byte"] * (likelihood["bytes"] / num_bytes)
    return LikelihoodOfText.model_validate({**likelihood, "bytes": num_bytes, "bits_per_byte": bits_per_byte})
