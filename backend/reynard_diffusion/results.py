"""The answers to a request: the whole result, the events of a stream, and the models that can be asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

EventType = Literal["start", "token", "step", "complete", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionStreamEvent:
    """One event of a stream."""

    type: EventType
    data: Any = None
    """A piece of text, if it is a `token`. If it is a `step`, the `canvas` (`None` for a mask), `committed` (`index`,
    `text`, `confidence`), and the indices `expanded`, `deleted`, `revoked` and, under a constraint, `forced`, all
    before the step's expansions and deletions; `step` and `nfe`, the passes so far."""
    timestamp: float = field(default_factory=time.time)
    """Seconds since 1970-01-01 UTC."""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """The result of a whole request; `print(result)` prints the text."""

    success: bool = True
    text: str
    model_id: str
    """The model that really answered."""
    processing_time: float
    """Seconds from arrival to the last token."""
    tokens_generated: int
    metadata: dict[str, Any]
    """The facts beside these: `seed`, `finish_reason`, `denoising_steps`, `device` and more."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionModelInfo:
    """A model that the server lists."""

    model_id: str
    name: str
    description: str
    base_model: str | None = None
    """The model whose weights it shares, where it is an adapter."""
    max_length: int
    is_available: bool
    device: str
    memory_usage: float
    """Megabytes of weights on the device."""
    memory_needed: float | None = None
    """Megabytes that weights and a full batch of requests take, as estimated; `None` until it is loaded."""
    capabilities: list[str]
    """Operations that it is known to answer: `generate`, `infill` (with text behind the gap), `chat`, `read`;
    `constrain` where answers obey a `constraint`. Other names may come."""
