"""The models in Ollama's words: those that can be asked for, those in memory, and one in detail."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from pydantic import BaseModel, Field

from app.api.ollama.names import tagged
from app.services.diffusion import DiffusionLLMService
from app.services.diffusion.reports import DiffusionModelDetails

FAMILY = "diffusion"
UNKNOWN_TIME = "1970-01-01T00:00:00Z"
NO_END = "9999-12-31T23:59:59Z"
"""The time at which a model leaves memory: nothing but a lack of room or its operator makes it leave."""

MEGABYTE = 1_000_000

GAP_TEMPLATE = "{{ .Prompt }}{{ .Suffix }}"
"""The template of models that fill gaps: by `.Suffix` in it editors find out that they may send one."""
TEMPLATE = "{{ .Prompt }}"


class OllamaModelDetails(BaseModel):
    """The kind of a model."""

    parent_model: str = Field("", description="The model whose weights it shares, where it is an adapter.")
    format: str = Field("", description="Unknown, and always empty.")
    family: str = FAMILY
    families: list[str] = [FAMILY]
    parameter_size: str = Field("", description="Unknown, and always empty.")
    quantization_level: str = Field("", description="Of the layers' weights, or their type; empty until it is loaded.")


class OllamaListedModel(BaseModel):
    """A model in a list."""

    name: str
    model: str
    modified_at: str = Field(UNKNOWN_TIME, description="Unknown, and always the same.")
    size: int = Field(description="Bytes of weights in memory; 0 until it is loaded.")
    digest: str = Field(description="Of the name alone.")
    details: OllamaModelDetails


class OllamaModelList(BaseModel):
    """The models that can be asked for."""

    models: list[OllamaListedModel]


class OllamaLoadedModel(OllamaListedModel):
    """A model in memory."""

    expires_at: str = Field(NO_END, description="No model leaves memory because time has passed.")
    size_vram: int = Field(description="The same bytes, where they are not in the processor's own memory.")
    context_length: int = Field(description="Tokens that it sees at a time; 0 where that is not known.")


class OllamaLoadedList(BaseModel):
    """The models in memory."""

    models: list[OllamaLoadedModel]


class OllamaModel(BaseModel):
    """A model in detail."""

    license: str = ""
    modelfile: str
    parameters: str = Field(description="The configured defaults, one a line.")
    template: str = Field(description="Has a `.Suffix` where the model fills gaps; else of no meaning here.")
    details: OllamaModelDetails
    model_info: dict[str, Any]
    capabilities: list[str] = Field(description="`completion`, and `insert` where it is known to fill gaps.")
    modified_at: str = UNKNOWN_TIME


def listed(model: DiffusionModelDetails) -> OllamaListedModel:
    """A model in the list of all."""
    return OllamaListedModel(**_listed(model))


def loaded(model: DiffusionModelDetails) -> OllamaLoadedModel:
    """A model in the list of those in memory."""
    size = _size(model)
    is_elsewhere = not model.device.startswith("cpu")
    return OllamaLoadedModel(
        **_listed(model), size_vram=size if is_elsewhere else 0, context_length=model.context_length or 0
    )


def shown(model: DiffusionModelDetails, service: DiffusionLLMService) -> OllamaModel:
    """A model in detail."""
    lengths = {} if model.context_length is None else {f"{FAMILY}.context_length": model.context_length}
    infills = "infill" in model.capabilities
    return OllamaModel(
        modelfile=f"FROM {model.model_id}\n",
        parameters=_parameters(service.configuration()),
        template=GAP_TEMPLATE if infills else TEMPLATE,
        details=_details(model),
        model_info={"general.architecture": FAMILY, "general.basename": model.model_id, **lengths},
        capabilities=[*(["completion"] if model.capabilities else []), *(["insert"] if infills else [])],
    )


def _listed(model: DiffusionModelDetails) -> dict[str, Any]:
    name = tagged(model.model_id)
    digest = sha256(name.encode()).hexdigest()
    return {"name": name, "model": name, "size": _size(model), "digest": digest, "details": _details(model)}


def _size(model: DiffusionModelDetails) -> int:
    return round(model.memory_usage * MEGABYTE)


def _details(model: DiffusionModelDetails) -> OllamaModelDetails:
    level = model.quantization if model.quantization not in (None, "none") else model.dtype
    return OllamaModelDetails(parent_model=model.base_model or "", quantization_level=level or "")


def _parameters(config: dict[str, Any]) -> str:
    names = {"num_predict": "max_length", "repeat_penalty": "repetition_penalty"}
    shown = ("temperature", "top_k", "top_p", "repeat_penalty", "num_predict")
    return "\n".join(f"{name:<30} {config[names.get(name, name)]}" for name in shown)
