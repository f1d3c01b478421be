"""Models, requests, configuration and statistics of the diffusion service, in Python and without HTTP.

Text and engine are joined here; what a token costs is the engine's business, and what a status code means is the API's.

Names are imported when they are first used, so that whoever wants the data models only, as the client does, does not
wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.services.diffusion.base import DiffusionModel
    from app.services.diffusion.content_filter.content_filter import ContentFilter, OutputFilter
    from app.services.diffusion.diffusion_service import DiffusionLLMService
    from app.services.diffusion.errors import (
        ContentRejected,
        GenerationCancelled,
        GenerationFailed,
        GenerationTimeout,
        InvalidParameters,
        ModelUnavailable,
        Overloaded,
        ServiceDisabled,
        ServiceError,
        UnknownModel,
        UnsupportedOperation,
    )
    from app.services.diffusion.models import (
        ChatMessage,
        DiffusionChatParams,
        DiffusionGenerationParams,
        DiffusionInfillingParams,
        DiffusionStreamEvent,
        GenerationResult,
    )
    from app.services.diffusion.native.native import NativeDiffusionModel
    from app.services.diffusion.requests.generation import Generation

__all__ = [
    "ChatMessage",
    "ContentFilter",
    "ContentRejected",
    "DiffusionChatParams",
    "DiffusionGenerationParams",
    "DiffusionInfillingParams",
    "DiffusionLLMService",
    "DiffusionModel",
    "DiffusionStreamEvent",
    "Generation",
    "GenerationCancelled",
    "GenerationFailed",
    "GenerationResult",
    "GenerationTimeout",
    "InvalidParameters",
    "ModelUnavailable",
    "NativeDiffusionModel",
    "OutputFilter",
    "Overloaded",
    "ServiceDisabled",
    "ServiceError",
    "UnknownModel",
    "UnsupportedOperation",
]

_HOMES = {
    "base": ("DiffusionModel",),
    "content_filter.content_filter": ("ContentFilter", "OutputFilter"),
    "diffusion_service": ("DiffusionLLMService",),
    "requests.generation": ("Generation",),
    "models": (
        "ChatMessage",
        "DiffusionChatParams",
        "DiffusionGenerationParams",
        "DiffusionInfillingParams",
        "DiffusionStreamEvent",
        "GenerationResult",
    ),
    "native.native": ("NativeDiffusionModel",),
}
"""Modules and what they give; every other name is an error's."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((module for module, names in _HOMES.items() if name in names), "errors")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
