"""The server's classes for people who write a model or a content filter, or run the service in their own process.

    from reynard_diffusion_server import DiffusionModel, DiffusionStreamEvent

The server's code is a package named `app`, as that of many projects is; this name is nobody else's. It stands for the
`app` beside it, also where a folder of the same name comes first on `sys.path`. A process has one `app` only: one that
has imported another gets an ImportError that says what to do.

Names are imported when they are first used, so that a module with a model of its own does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from reynard_diffusion_server.own_app import import_own_app

if TYPE_CHECKING:
    from app.core.settings import Settings, load_settings
    from app.server import create_app
    from app.services.diffusion.base import DiffusionModel, StreamItem
    from app.services.diffusion.content_filter.content_filter import ContentFilter, OutputFilter
    from app.services.diffusion.decisions import DiffusionDecisionParams
    from app.services.diffusion.diffusion_service import DiffusionLLMService
    from app.services.diffusion.errors import (
        ContentRejected,
        GenerationCancelled,
        GenerationFailed,
        GenerationTimeout,
        InvalidParameters,
        ModelUnavailable,
        OutOfMemory,
        Overloaded,
        ServiceDisabled,
        ServiceError,
        UnknownModel,
        UnsupportedOperation,
    )
    from app.services.diffusion.likelihood import DiffusionLikelihoodParams
    from app.services.diffusion.model_events import CanvasStep, Ended, HolesRead, LikelihoodsRead, Piece, Started
    from app.services.diffusion.models import (
        ChatMessage,
        DiffusionChatParams,
        DiffusionGenerationParams,
        DiffusionInfillingParams,
        DiffusionModelInfo,
        DiffusionStreamEvent,
        DiffusionTokensInfillingParams,
        DiffusionTokensParams,
        GenerationResult,
    )
    from app.services.diffusion.reading import DiffusionReadParams
    from app.services.diffusion.reports import DiffusionModelDetails, ParameterBound
    from app.services.diffusion.requests.generation import Generation
    from app.services.diffusion.tokens import Encoding, TokenizerFacts, Tokens

__all__ = [
    "CanvasStep",
    "ChatMessage",
    "ContentFilter",
    "ContentRejected",
    "DiffusionChatParams",
    "DiffusionDecisionParams",
    "DiffusionGenerationParams",
    "DiffusionInfillingParams",
    "DiffusionLLMService",
    "DiffusionLikelihoodParams",
    "DiffusionModel",
    "DiffusionModelDetails",
    "DiffusionModelInfo",
    "DiffusionReadParams",
    "DiffusionStreamEvent",
    "DiffusionTokensInfillingParams",
    "DiffusionTokensParams",
    "Encoding",
    "Ended",
    "Generation",
    "GenerationCancelled",
    "GenerationFailed",
    "GenerationResult",
    "GenerationTimeout",
    "HolesRead",
    "InvalidParameters",
    "LikelihoodsRead",
    "ModelUnavailable",
    "OutOfMemory",
    "OutputFilter",
    "Overloaded",
    "ParameterBound",
    "Piece",
    "ServiceDisabled",
    "ServiceError",
    "Settings",
    "Started",
    "StreamItem",
    "TokenizerFacts",
    "Tokens",
    "UnknownModel",
    "UnsupportedOperation",
    "create_app",
    "load_settings",
]

_HOMES = {
    "app.core.settings": (
        "Settings",
        "load_settings",
    ),
    "app.server": ("create_app",),
    "app.services.diffusion.base": (
        "DiffusionModel",
        "StreamItem",
    ),
    "app.services.diffusion.content_filter.content_filter": (
        "ContentFilter",
        "OutputFilter",
    ),
    "app.services.diffusion.decisions": ("DiffusionDecisionParams",),
    "app.services.diffusion.diffusion_service": ("DiffusionLLMService",),
    "app.services.diffusion.errors": (
        "ContentRejected",
        "GenerationCancelled",
        "GenerationFailed",
        "GenerationTimeout",
        "InvalidParameters",
        "ModelUnavailable",
        "OutOfMemory",
        "Overloaded",
        "ServiceDisabled",
        "ServiceError",
        "UnknownModel",
        "UnsupportedOperation",
    ),
    "app.services.diffusion.likelihood": ("DiffusionLikelihoodParams",),
    "app.services.diffusion.model_events": (
        "CanvasStep",
        "Ended",
        "HolesRead",
        "LikelihoodsRead",
        "Piece",
        "Started",
    ),
    "app.services.diffusion.models": (
        "ChatMessage",
        "DiffusionChatParams",
        "DiffusionGenerationParams",
        "DiffusionInfillingParams",
        "DiffusionModelInfo",
        "DiffusionStreamEvent",
        "DiffusionTokensInfillingParams",
        "DiffusionTokensParams",
        "GenerationResult",
    ),
    "app.services.diffusion.reading": ("DiffusionReadParams",),
    "app.services.diffusion.reports": (
        "DiffusionModelDetails",
        "ParameterBound",
    ),
    "app.services.diffusion.requests.generation": ("Generation",),
    "app.services.diffusion.tokens": (
        "Encoding",
        "TokenizerFacts",
        "Tokens",
    ),
}

import_own_app()


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
