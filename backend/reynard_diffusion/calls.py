"""The calls of the API: their requests, and how the answers are read. Nothing here sends or waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from reynard_diffusion.errors import FieldError, InvalidRequest
from reynard_diffusion.reports import (
    CleanupReport,
    ConfigurationChange,
    DiffusionHealth,
    DiffusionModelDetails,
    DiffusionStatistics,
)
from reynard_diffusion.results import DiffusionModelInfo, GenerationResult
from reynard_diffusion.typed_json import typed

API = "/api/diffusion"

T = TypeVar("T")

Message = Mapping[str, str]
"""A turn of a conversation: `role` and `content`."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A call with one answer; `read` turns the JSON of the answer into the caller's type."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    is_admin: bool = False
    shows_admins_more: bool = False
    """Whether everyone may call it, but only an administrator gets the whole answer."""
    answers: tuple[int, ...] = (200,)
    """The statuses whose body is an answer and not a problem."""


@dataclass(frozen=True, slots=True)
class StreamCall:
    """A call that is answered by Server-Sent Events."""

    path: str
    body: Mapping[str, Any]


def generate(text: str, parameters: Mapping[str, Any]) -> Call[GenerationResult]:
    """The call that continues a text."""
    return Call("POST", f"{API}/generate", _result("generated_text"), {"text": text, **parameters})


def infill(prefix: str, suffix: str, parameters: Mapping[str, Any]) -> Call[GenerationResult]:
    """The call that fills the gap between two texts."""
    return Call("POST", f"{API}/infill", _result("infilled_text"), {"prefix": prefix, "suffix": suffix, **parameters})


def read(parts: Sequence[Any], parameters: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """The call that reads a text with holes."""
    return Call("POST", f"{API}/read", dict, {"parts": _listed("parts", parts), **parameters})


def likelihood(texts: Sequence[str], parameters: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """The call that says how probable texts are."""
    return Call("POST", f"{API}/likelihood", dict, {"texts": _listed("texts", texts), **parameters})


def decide(state: Any, questions: Mapping[str, Any], parameters: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """The call that answers questions about a state."""
    if not isinstance(questions, Mapping):
        raise _refused("questions", "has to be a dictionary from names to questions")
    return Call("POST", "/v1/systemone", dict, {"state": state, "questions": dict(questions), **parameters})


def generate_stream(text: str, parameters: Mapping[str, Any]) -> StreamCall:
    """The call that continues a text, event by event."""
    return StreamCall(f"{API}/generate/stream", {"text": text, **parameters})


def infill_stream(prefix: str, suffix: str, parameters: Mapping[str, Any]) -> StreamCall:
    """The call that fills the gap between two texts, event by event."""
    return StreamCall(f"{API}/infill/stream", {"prefix": prefix, "suffix": suffix, **parameters})


def chat_stream(messages: Sequence[Message], parameters: Mapping[str, Any]) -> StreamCall:
    """The call for the next turn of a conversation, piece by piece. The pieces are those of one text, so it is not made
    for several answers, or for the call of a function."""
    if parameters.get("n") not in (None, 1):
        raise _refused("n", "asks for several answers, whose pieces would come mixed; leave it out")
    if parameters.get("tool_choice") not in (None, "none", "auto"):
        raise _refused("tool_choice", "asks for a call of a function, which is no text; leave it out")
    return StreamCall("/v1/chat/completions", {"messages": _listed("messages", messages), "stream": True, **parameters})


def models() -> Call[list[DiffusionModelInfo]]:
    """The call that lists the models."""
    return Call("GET", f"{API}/models", lambda answer: _each(DiffusionModelInfo, answer["models"]))


def config() -> Call[dict[str, Any]]:
    """The call for the configuration; only an administrator gets whole locations."""
    return Call("GET", f"{API}/config", dict, shows_admins_more=True)


def configure(changes: Mapping[str, Any]) -> Call[ConfigurationChange]:
    """The call that changes settings."""
    return Call("POST", f"{API}/config", partial(typed, ConfigurationChange), changes, is_admin=True)


def stats() -> Call[DiffusionStatistics]:
    """The call for the statistics."""
    return Call("GET", f"{API}/admin/stats", partial(typed, DiffusionStatistics), is_admin=True)


def health() -> Call[DiffusionHealth]:
    """The call for the health; status 503 brings an answer too."""
    read = partial(typed, DiffusionHealth)
    return Call("GET", f"{API}/admin/health", read, is_admin=True, answers=(200, 503))


def model_details() -> Call[list[DiffusionModelDetails]]:
    """The call that lists the models with details for administrators."""

    def read(answer: Any) -> list[DiffusionModelDetails]:
        return _each(DiffusionModelDetails, answer["models"])

    return Call("GET", f"{API}/admin/models", read, is_admin=True)


def reload(model_id: str) -> Call[DiffusionModelDetails]:
    """The call that loads a model again."""
    path = f"{API}/admin/models/{quote(model_id, safe='', errors='replace')}/reload"
    return Call("POST", path, lambda answer: typed(DiffusionModelDetails, answer["model"]), is_admin=True)


def cleanup() -> Call[CleanupReport]:
    """The call that releases caches and idle models."""
    return Call("POST", f"{API}/admin/cleanup", partial(typed, CleanupReport), is_admin=True)


def ping() -> Call[str]:
    """The call that any live server answers."""
    return Call("GET", "/health/live", lambda answer: str(answer["status"]))


def given(**parameters: Any) -> dict[str, Any]:
    """The parameters that are not left out."""
    return {name: value for name, value in parameters.items() if value is not None}


def _listed(name: str, items: Iterable[Any]) -> list[Any]:
    """The items. A text is none of its letters, and a dictionary none of its keys.

    Raises:
        InvalidRequest: there are no several items.
    """
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise _refused(name, "has to be a list")
    return list(items)


def _refused(field: str, complaint: str) -> InvalidRequest:
    message = f"{field} {complaint}"
    return InvalidRequest(message, code="invalid_parameters", errors=(FieldError(field, message),))


def _result(text_field: str) -> Callable[[Any], GenerationResult]:
    return lambda answer: typed(GenerationResult, {"text": answer[text_field], **answer})


M = TypeVar("M", DiffusionModelInfo, DiffusionModelDetails)


def _each(model: type[M], items: Any) -> list[M]:
    return [typed(model, item) for item in items]
