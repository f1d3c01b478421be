"""The base of requests to read: nothing is written, so nothing is drawn, stopped or streamed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict

from app.core.parameters import StreamMode, field_of

MAX_READ_CHARACTERS = 200_000
"""The given text of a request to read. It is read once, so it may be longer than one to continue."""


class ReadingRequest(BaseModel):
    """A request to read texts instead of writing one."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    model_id: str | None = field_of("model_id")

    FIELD_OF_TEXTS: ClassVar[str]
    """The field that errors about its texts name."""

    # What a request to write may say beside.
    stream_mode: ClassVar[StreamMode] = "text"
    logprobs: ClassVar[None] = None
    constraint: ClassVar[None] = None
    stop_strings: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def all_texts(self) -> list[str]:
        """All texts in the order of the request, none of them empty."""

    @abstractmethod
    def with_texts(self, texts: Sequence[str]) -> Self:
        """Gives the request other texts, in the same order."""
