"""The request for the likelihood of texts behind a prefix; the wire format too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, field_validator

from app.core.parameters import MAX_SEED
from app.services.diffusion.models import MAX_TEXT_CHARACTERS
from app.services.diffusion.reading_request import ReadingRequest

MAX_TEXTS = 64
MAX_SAMPLES = 1024
DEFAULT_SAMPLES = 128


class DiffusionLikelihoodParams(ReadingRequest):
    """Say how probable texts are behind a prefix: a Monte Carlo bound. Nothing is written."""

    FIELD_OF_TEXTS: ClassVar[str] = "texts"

    prefix: str = Field("", max_length=MAX_TEXT_CHARACTERS, description="Text before each of `texts`; may be empty.")
    texts: list[str] = Field(
        min_length=1,
        max_length=MAX_TEXTS,
        description="Texts whose likelihood is wanted, each behind `prefix`, as they stand there: ` blue`, with its "
        "space, is another text than `blue`.",
    )
    num_samples: int = Field(
        DEFAULT_SAMPLES,
        ge=1,
        le=MAX_SAMPLES,
        description="Masked copies of each text. More of them make the standard error smaller, and take longer.",
    )
    seed: int = Field(0, ge=0, le=MAX_SEED, description="Fixes the masks, and so the result.")

    @field_validator("texts")
    @classmethod
    def _are_texts(cls, texts: list[str]) -> list[str]:
        for index, text in enumerate(texts):
            if not text:
                raise ValueError(f"texts[{index}] is empty; there is no likelihood of nothing, so leave it out")
        if sum(map(len, texts)) > MAX_TEXT_CHARACTERS:
            raise ValueError(f"texts has {sum(map(len, texts))} characters, more than {MAX_TEXT_CHARACTERS}")
        return texts

    @property
    def all_texts(self) -> list[str]:
        """See `ReadingRequest`; an empty prefix is none."""
        return [self.prefix, *self.texts] if self.prefix else self.texts

    def with_texts(self, texts: Sequence[str]) -> Self:
        """See `ReadingRequest`."""
        prefix, others = (texts[0], texts[1:]) if self.prefix else ("", texts)
        return self.model_copy(update={"prefix": prefix, "texts": list(others)})
