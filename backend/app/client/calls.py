"""The calls of the API: what is sent, and how the answer is read. Nothing here sends or waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from app.services.diffusion.models import (
    CleanupReport,
    ConfigurationChange,
    DiffusionHealth,
    DiffusionModelDetails,
    DiffusionModelInfo,
    DiffusionStatistics,
    GenerationResult,
)

API = "/api/diffusion"

T = TypeVar("T")

Message = Mapping[str, str]
"""A turn of a conversation: `role` and `content`."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call; `read` turns the JSON of its answer into what the caller gets."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    is_admin: bool = False
    shows_admins_more: bool = False
    """Anyone may call it, and whoever proves to be an administrator gets the whole answer."""
    answers: tuple[int, ...] = (200,)
    """Statuses whose body is the answer, and no problem."""


@dataclass(frozen=True, slots=True)
class StreamCall:
    """A call that is answered by Server-Sent Events."""

    path: str
    body: Mapping[str, Any]


def generate(text: str, parameters: Mapping[str, Any]) -> Call[GenerationResult]:
    return Call("POST", f"{API}/generate", _result("generated_text"), {"text": text, **parameters})


def infill(prefix: str, suffix: str, parameters: Mapping[str, Any]) -> Call[GenerationResult]:
    return Call("POST", f"{API}/infill", _result("infilled_text"), {"prefix": prefix, "suffix": suffix, **parameters})


def generate_stream(text: str, parameters: Mapping[str, Any]) -> StreamCall:
    return StreamCall(f"{API}/generate/stream", {"text": text, **parameters})


def infill_stream(prefix: str, suffix: str, parameters: Mapping[str, Any]) -> StreamCall:
    return StreamCall(f"{API}/infill/stream", {"prefix": prefix, "suffix": suffix, **parameters})


def chat_stream(messages: Sequence[Message], parameters: Mapping[str, Any]) -> StreamCall:
    return StreamCall("/v1/chat/completions", {"messages": list(messages), "stream": True, **parameters})


def models() -> Call[list[DiffusionModelInfo]]:
    return Call("GET", f"{API}/models", lambda answer: _each(DiffusionModelInfo, answer["models"]))


def config() -> Call[dict[str, Any]]:
    return Call("GET", f"{API}/config", dict, shows_admins_more=True)


def configure(changes: Mapping[str, Any]) -> Call[ConfigurationChange]:
    return Call("POST", f"{API}/config", ConfigurationChange.model_validate, changes, is_admin=True)


def stats() -> Call[DiffusionStatistics]:
    return Call("GET", f"{API}/admin/stats", DiffusionStatistics.model_validate, is_admin=True)


def health() -> Call[DiffusionHealth]:
    read = DiffusionHealth.model_validate
    return Call("GET", f"{API}/admin/health", read, is_admin=True, answers=(200, 503))


def model_details() -> Call[list[DiffusionModelDetails]]:
    def read(answer: Any) -> list[DiffusionModelDetails]:
        return _each(DiffusionModelDetails, answer["models"])

    return Call("GET", f"{API}/admin/models", read, is_admin=True)


def reload(model_id: str) -> Call[DiffusionModelDetails]:
    path = f"{API}/admin/models/{quote(model_id, safe='', errors='replace')}/reload"
    return Call("POST", path, lambda answer: DiffusionModelDetails.model_validate(answer["model"]), is_admin=True)


def cleanup() -> Call[CleanupReport]:
    return Call("POST", f"{API}/admin/cleanup", CleanupReport.model_validate, is_admin=True)


def ping() -> Call[str]:
    return Call("GET", "/health/live", lambda answer: str(answer["status"]))


def _result(text_field: str) -> Callable[[Any], GenerationResult]:
    return lambda answer: GenerationResult.model_validate({"text": answer[text_field], **answer})


M = TypeVar("M", DiffusionModelInfo, DiffusionModelDetails)


def _each(model: type[M], items: Any) -> list[M]:
    return [model.model_validate(item) for item in items]
