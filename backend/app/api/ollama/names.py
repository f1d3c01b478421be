"""Names of models with and without a tag, and the client's names of our parameters."""

from __future__ import annotations

from collections.abc import Mapping

from app.api.models_of import model_of
from app.services.diffusion import DiffusionLLMService, UnknownModel
from app.services.diffusion.models import Sampling
from app.services.diffusion.reports import DiffusionModelDetails

TAG = ":latest"
"""The tag that Ollama adds to a name without one."""

FIELDS: Mapping[str, str] = {
    **{name: f"options.{name}" for name in Sampling.model_fields},
    "max_length": "options.num_predict",
    "repetition_penalty": "options.repeat_penalty",
    "model_id": "model",
    "text": "prompt",
    "prefix": "prompt",
    "constraint": "format",
    "constraint.json_schema": "format",
    "chat_template_kwargs": "think",
}
"""The service's names of fields, with Ollama's."""


def tagged(model_id: str) -> str:
    """The name by which a model is listed."""
    return model_id if ":" in model_id else model_id + TAG


def found(service: DiffusionLLMService, name: str | None) -> DiffusionModelDetails:
    """The model of this name, with or without its tag; the default one where none is given.

    Raises:
        UnknownModel: no model has this name.
    """
    try:
        return model_of(service, name)
    except UnknownModel:
        if name is not None and name.endswith(TAG):
            return _untagged(service, name)
        raise _not_found(service, name) from None


def _untagged(service: DiffusionLLMService, name: str) -> DiffusionModelDetails:
    try:
        return model_of(service, name.removesuffix(TAG))
    except UnknownModel:
        raise _not_found(service, name) from None


def _not_found(service: DiffusionLLMService, name: str | None) -> UnknownModel:
    known = ", ".join(model.model_id for model in service.model_details())
    return UnknownModel(f"model {name!r} not found; known models: {known}")


def answering(name: str | None, model_id: str) -> str:
    """The model of an answer as its client knows it: by the name that was asked for, where that is the one."""
    return name if name is not None and name.removesuffix(TAG) == model_id else model_id
