"""The model that a request means."""

from __future__ import annotations

from app.core.parameters import MAX_NEW_TOKENS
from app.services.diffusion import DiffusionLLMService, UnknownModel
from app.services.diffusion.reports import DiffusionModelDetails


def model_of(service: DiffusionLLMService, model_id: str | None) -> DiffusionModelDetails:
    """The model of this id; the default one where none is given.

    Raises:
        UnknownModel: no model has this id.
    """
    wanted = model_id or service.configuration()["default_model"]
    models = service.model_details()
    found = next((model for model in models if model.model_id == wanted), None)
    if found is None:
        known = ", ".join(model.model_id for model in models)
        raise UnknownModel(f"there is no model {wanted!r}; known models: {known}")
    return found


def is_marker(service: DiffusionLLMService, model_id: str | None, text: str) -> bool:
    """Whether a text is nothing but one of the model's special tokens, such as the end of text: some editors send it
    where they have no text."""
    try:
        return text.strip() in model_of(service, model_id).special_tokens
    except UnknownModel:
        return False


def n_ctx_of(service: DiffusionLLMService, model_id: str) -> int:
    """Tokens that the model sees at a time, as llama.cpp calls them; 0 where it was not loaded, or is no more."""
    return next((model.context_length or 0 for model in service.model_details() if model.model_id == model_id), 0)


def max_length_of(service: DiffusionLLMService, model_id: str | None) -> int:
    """New tokens that the model can write at most. One that is not known yet may be known to the service later."""
    try:
        return model_of(service, model_id).max_length
    except UnknownModel:
        return MAX_NEW_TOKENS
