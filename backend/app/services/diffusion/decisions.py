"""The request to decide: typed questions about a state, each answered by the probabilities of its options.

A masked model answers all of them in one forward pass. Options are known by their position, so that whoever asks
may call them what it likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.services.diffusion.reading_request import MAX_READ_CHARACTERS, ReadingRequest

PROMPT_FORMAT_VERSION = 1
"""The version of the frame in which questions are asked. Any other wording, labels or places are another version."""

MAX_QUESTIONS = 64
MAX_QUESTION_CHARACTERS = 20_000
"""The instructions and options of one question together."""
MAX_OPTIONS = 255
MAX_LEVELS = 10
MAX_PERMUTATIONS = 16

QuestionKind = Literal["choice", "score", "yes_no"]

Permutations = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_PERMUTATIONS,
        description="Orders of the options over which probabilities are averaged, all read in one batch; default 1.",
    ),
]


class DecisionQuestion(BaseModel):
    """A question with its options: those of a choice, the levels of a score from the lowest, or yes and no."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=256)
    kind: QuestionKind
    instructions: str = ""
    options: list[str] = Field(
        min_length=1, max_length=MAX_OPTIONS, description="Texts of the options; those of yes and no may be empty."
    )

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        num_characters = len(self.instructions) + sum(map(len, self.options))
        if num_characters > MAX_QUESTION_CHARACTERS:
            raise ValueError(
                f"question {self.name[:60]!r} has {num_characters} characters, more than the maximum of "
                f"{MAX_QUESTION_CHARACTERS}"
            )
        if self.kind == "score" and len(self.options) > MAX_LEVELS:
            raise ValueError(
                f"question {self.name[:60]!r} has {len(self.options)} levels, more than the maximum of {MAX_LEVELS}"
            )
        if self.kind == "yes_no" and len(self.options) != 2:
            raise ValueError(f"question {self.name[:60]!r} needs two options, one for yes and one for no")
        return self


class DiffusionDecisionParams(ReadingRequest):
    """Say how probable the options of each question are, given a state. Nothing is sampled."""

    FIELD_OF_TEXTS: ClassVar[str] = "state"

    state: str = Field(min_length=1, max_length=MAX_READ_CHARACTERS, description="What the questions are about.")
    questions: list[DecisionQuestion] = Field(min_length=1, max_length=MAX_QUESTIONS)
    permutations: Permutations = None

    @field_validator("questions")
    @classmethod
    def _have_names_of_their_own(cls, questions: list[DecisionQuestion]) -> list[DecisionQuestion]:
        names = [question.name for question in questions]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"questions has two of the name {twice[:60]!r}; give each its own")
        return questions

    @property
    def num_orders(self) -> int:
        """The number of orders in which the options are named."""
        return self.permutations or 1

    @property
    def all_texts(self) -> list[str]:
        """See `ReadingRequest`."""
        return [self.state, *(text for question in self.questions for text in _words(question) if text)]

    def with_texts(self, texts: Sequence[str]) -> Self:
        """See `ReadingRequest`."""
        state, *others = texts
        left = iter(others)
        return self.model_copy(
            update={"state": state, "questions": [_with_words(question, left) for question in self.questions]}
        )


def _words(question: DecisionQuestion) -> tuple[str, ...]:
    return (question.instructions, *question.options)


def _with_words(question: DecisionQuestion, texts: Iterator[str]) -> DecisionQuestion:
    instructions, *options = [next(texts) if text else "" for text in _words(question)]
    return question.model_copy(update={"instructions": instructions, "options": options})


class Decision(NamedTuple):
    """The answer to one question.

    Attributes:
        probabilities: of its options, in their order; they sum to 1.
        label_mass: the probability that the labels of all options hold together in the model's own distribution.
    """

    probabilities: tuple[float, ...]
    label_mass: float

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Decision:
        """The decision in the metadata of a result, where it stands under the question's name in `holes`."""
        return cls(tuple(answer["probabilities"]), answer["label_mass"])

    @property
    def rounded(self) -> list[float]:
        """The probabilities with four decimals."""
        return [round(probability, 4) for probability in self.probabilities]

    @property
    def rounded_mass(self) -> float:
        """The label mass with four significant digits, for small ones say how little a model knows a frame."""
        return float(f"{self.label_mass:.4g}")

    @property
    def best(self) -> int:
        """The position of the most probable option; the first of equal ones."""
        return self.probabilities.index(max(self.probabilities))

    @property
    def expected(self) -> float:
        """The expected position, with four decimals: of a score, its expected level."""
        return round(math.fsum(position * share for position, share in enumerate(self.probabilities)), 4)

    @property
    def confidence(self) -> float:
        """0 where all options are equally probable, 1 where one holds everything; with four decimals. For 3 options of
        which the best has 0.8 it is (3 · 0.8 - 1) / 2 = 0.7."""
        count = len(self.probabilities)
        share = 1.0 if count == 1 else max((count * max(self.probabilities) - 1) / (count - 1), 0.0)
        return round(share, 4)
