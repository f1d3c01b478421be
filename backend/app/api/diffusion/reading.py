"""The envelope of what was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.services.diffusion.models import GenerationResult
from app.services.diffusion.reading import DiffusionReadParams


class TokenRead(BaseModel):
    """A token that may stand at a mask."""

    token: str
    bytes: list[int]
    logprob: float


class ChoiceRead(BaseModel):
    """A choice that may stand in a hole."""

    text: str
    logprob: float = Field(description="Natural logarithm of its probability.")
    tokens: int


class HoleRead(BaseModel):
    """The distribution in one hole: `tokens`, or for given choices `choices`."""

    masks: int = Field(description="Masks of the hole while other holes are read.")
    method: Literal["marginal", "left_to_right"] = Field(
        description="`marginal`: the exact distribution at each mask by itself. `left_to_right`: a choice is read with "
        "as many masks as it has tokens, each token given those before it."
    )
    tokens: list[list[TokenRead]] | None = Field(None, description="For each mask the most probable tokens.")
    choices: list[ChoiceRead] | None = Field(None, description="In the order of the request.")
    log_mass: float | None = Field(
        None,
        description="Logarithm of the probability that all choices hold together; null where they differ in their "
        "number of tokens, for then they share no distribution.",
    )


class ReadMetadata(BaseModel):
    """The circumstances of a read."""

    request_id: str
    requested_model: str
    device: str
    prompt_tokens: int | None = Field(description="Tokens of the given text.")
    truncated_prompt_tokens: int = Field(description="Those among them that did not fit the model's context.")
    forward_passes: int | None = Field(description="Passes that the read took part in; other requests share them.")
    queue_time: float


class ReadResponse(BaseModel):
    """The distributions in the holes of a text."""

    model_config = ConfigDict(protected_namespaces=())

    success: bool = True
    holes: dict[str, HoleRead]
    calibrated: Literal[False] = Field(
        False, description="The probabilities are the model's own, and not fitted to how often it is right."
    )
    model_id: str = Field(description="The model that really answered.")
    processing_time: float = Field(description="Seconds.")
    metadata: ReadMetadata

    @classmethod
    def of(cls, result: GenerationResult, params: DiffusionReadParams) -> Self:
        said = result.metadata
        asked = {part.hole: part.choices or () for part in params.parts if part.hole is not None}
        metadata = ReadMetadata(forward_passes=said["denoising_steps"], **picked(said, ReadMetadata))
        return cls(
            holes={name: _of_hole(found, asked[name]) for name, found in said["holes"].items()},
            model_id=result.model_id,
            processing_time=result.processing_time,
            metadata=metadata,
        )


def _of_hole(found: Mapping[str, Any], choices: Sequence[str]) -> HoleRead:
    r"""The distribution in a hole, its choices as they were sent: a model sees `\n` alone, and what a filter left."""
    hole = HoleRead.model_validate(found)
    for choice, text in zip(hole.choices or (), choices, strict=True):
        choice.text = text
    return hole


def picked(said: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The entries that a model has a field for."""
    return {name: said[name] for name in model.model_fields if name in said}
