"""The request to read a text with holes instead of writing into it; the wire format too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.services.diffusion.decisions import DiffusionDecisionParams
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.models import Params
from app.services.diffusion.reading_request import MAX_READ_CHARACTERS, ReadingRequest

MAX_PARTS = 257
MAX_HOLES = 64
MAX_MASKS = 64
"""The masks of one hole."""
MAX_CHOICES = 256
MAX_CHOICE_CHARACTERS = 200
MAX_TOP = 64
DEFAULT_TOP = 5


class ReadPart(BaseModel):
    """A piece of the text, or a hole in it. A string is short for `{"text": …}`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | None = Field(None, min_length=1, max_length=MAX_READ_CHARACTERS, description="Text that is given.")
    hole: str | None = Field(None, min_length=1, max_length=64, description="The name of a hole; each has its own.")
    masks: int | None = Field(
        None,
        ge=1,
        le=MAX_MASKS,
        description="Tokens that the hole has room for: 1, or as many as the longest choice. Each choice is read with "
        "as many masks as it has tokens; `masks` is what the other holes see meanwhile.",
    )
    choices: list[str] | None = Field(
        None,
        min_length=1,
        max_length=MAX_CHOICES,
        description="Texts whose probability is wanted, as they would stand there: with their leading space, say.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return {"text": given} if isinstance(given, str) else given

    @field_validator("choices")
    @classmethod
    def _can_be_told_apart(cls, choices: list[str] | None) -> list[str] | None:
        for index, choice in enumerate(choices or ()):
            if not 1 <= len(choice) <= MAX_CHOICE_CHARACTERS:
                raise ValueError(
                    f"choices[{index}] has {len(choice)} characters; 1 to {MAX_CHOICE_CHARACTERS} are allowed"
                )
        if choices is not None and len({*choices}) < len(choices):
            raise ValueError("choices has the same text twice; each needs to be there once")
        return choices

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.text is None) == (self.hole is None):
            raise ValueError("each of the parts is either a text or a hole: give 'text' or 'hole', and not both")
        if self.text is not None and (self.masks is not None or self.choices is not None):
            raise ValueError("masks and choices belong to a hole, and this part is a text; leave them out, or name it")
        return self


class DiffusionReadParams(ReadingRequest):
    """Say what the model holds probable in the holes of a text. Nothing is sampled."""

    FIELD_OF_TEXTS: ClassVar[str] = "parts"

    parts: list[ReadPart] = Field(min_length=1, max_length=MAX_PARTS)
    top: int | None = Field(
        None,
        ge=1,
        le=MAX_TOP,
        description=f"Most probable tokens of each mask of a hole without choices; default {DEFAULT_TOP}.",
    )

    @field_validator("parts")
    @classmethod
    def _have_holes(cls, parts: list[ReadPart]) -> list[ReadPart]:
        names = [part.hole for part in parts if part.hole is not None]
        if not names:
            raise ValueError('parts has no hole; give one at least, such as {"hole": "answer"}')
        if len(names) > MAX_HOLES:
            raise ValueError(f"parts has {len(names)} holes, more than the maximum of {MAX_HOLES}")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"parts has two holes of the name {twice!r}; give each its own")
        num_characters = sum(len(part.text) for part in parts if part.text is not None)
        if num_characters > MAX_READ_CHARACTERS:
            raise ValueError(f"parts has {num_characters} characters, more than the maximum of {MAX_READ_CHARACTERS}")
        return _joined(parts)

    @property
    def all_texts(self) -> list[str]:
        """See `ReadingRequest`: those given, and the choices."""
        return [text for part in self.parts for text in ((part.text,) if part.text else part.choices or ())]

    def with_texts(self, texts: Sequence[str]) -> Self:
        """See `ReadingRequest`."""
        left = iter(texts)
        return self.model_copy(update={"parts": [_with_texts(part, left) for part in self.parts]})


def _joined(parts: Sequence[ReadPart]) -> list[ReadPart]:
    """Neighbouring texts as one: where a client has cut a text is no border between tokens."""
    joined: list[ReadPart] = []
    for part in parts:
        last = joined[-1] if joined else None
        if last is not None and last.text is not None and part.text is not None:
            joined[-1] = ReadPart.model_construct(text=last.text + part.text)
        else:
            joined.append(part)
    return joined


def _with_texts(part: ReadPart, texts: Iterator[str]) -> ReadPart:
    if part.text is not None:
        return part.model_copy(update={"text": next(texts)})
    choices = None if part.choices is None else [next(texts) for _ in part.choices]
    return part.model_copy(update={"choices": choices})


Asked: TypeAlias = Params | DiffusionReadParams | DiffusionDecisionParams | DiffusionLikelihoodParams
"""A request to a model: to write, to read, to decide, or to say how probable texts are."""
