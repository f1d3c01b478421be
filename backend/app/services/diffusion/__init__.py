"""Models, requests, configuration and statistics of the diffusion service, in Python and without HTTP.

Text and engine are joined here; what a token costs is the engine's business, and what a status code means is the API's.
"""

from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.content_filter import ContentFilter, OutputFilter
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
)
from app.services.diffusion.generation import Generation
from app.services.diffusion.models import (
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionStreamEvent,
    GenerationResult,
)
from app.services.diffusion.native import NativeDiffusionModel

__all__ = [
    "ContentFilter",
    "ContentRejected",
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
]
