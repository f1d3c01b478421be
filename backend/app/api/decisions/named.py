"""The words of `/v1/decisions` in the form of SGLang's server: questions with ids, and their answers by these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, Field, field_validator, model_validator

from app.api.decisions.base import AskedQuestion, DecisionsAnswer, DecisionsRequest
from app.api.decisions.content import (
    CONFIDENCE,
    EXPECTED_LEVEL,
    LABEL_MASS,
    Content,
    Needed,
    Strict,
    in_place,
    option,
    written,
)
from app.services.diffusion.decisions import MAX_LEVELS, MAX_QUESTIONS, PROMPT_FORMAT_VERSION, Decision
from app.services.diffusion.models import GenerationResult

MAX_NAMED_OPTIONS = 26

Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]


class NamedOption(Strict):
    """An option of a choice."""

    name: str = Field(min_length=1)
    description: Content | None = None


class Identified(Strict):
    """The fields that all questions have."""

    id: Id
    question: Needed


class NamedChoice(Identified):
    """The question which of some options it is."""

    type: Literal["choice"]
    options: list[NamedOption] = Field(min_length=2, max_length=MAX_NAMED_OPTIONS)

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        if len({*self.keys}) < len(self.keys):
            raise in_place("has two options of the same name; give each its own")
        return self

    @property
    def keys(self) -> list[str]:
        """The names of the options."""
        return [each.name for each in self.options]

    @property
    def option_texts(self) -> list[str]:
        """The options, for the model to read."""
        return [option(each.name, written(each.description)) for each in self.options]


class NamedScore(Identified):
    """The question which level of a scale it is."""

    type: Literal["score"]
    levels: list[Needed] = Field(min_length=2, max_length=MAX_LEVELS, description="Lowest first.")

    @property
    def keys(self) -> list[str]:
        """The numbers of the levels."""
        return list(map(str, range(len(self.levels))))

    @property
    def option_texts(self) -> list[str]:
        """The levels, for the model to read."""
        return list(map(written, self.levels))


class YesNo(Identified):
    """The question whether something is so."""

    type: Literal["yes_no"]
    yes: Content | None = Field(None, description="What counts as yes.")
    no: Content | None = Field(None, description="What counts as no.")

    @property
    def keys(self) -> list[str]:
        """The two answers."""
        return ["yes", "no"]

    @property
    def option_texts(self) -> list[str]:
        """The texts of yes and no."""
        return [written(self.yes), written(self.no)]


NamedQuestion: TypeAlias = Annotated[NamedChoice | NamedScore | YesNo, Field(discriminator="type")]


class NamedDecisions(DecisionsRequest):
    """Answers questions with ids about an input by the probabilities of their options."""

    input: Needed
    questions: list[NamedQuestion] = Field(min_length=1, max_length=MAX_QUESTIONS)
    prompt_format_version: int | None = Field(None, description="The version that is expected; another one is refused.")

    @field_validator("prompt_format_version")
    @classmethod
    def _is_served(cls, version: int | None) -> int | None:
        if version not in (None, PROMPT_FORMAT_VERSION):
            raise ValueError(f"prompt_format_version={version} is not served; this server has {PROMPT_FORMAT_VERSION}")
        return version

    def text(self) -> str:
        """See `DecisionsRequest`."""
        return written(self.input)

    def asked(self) -> Iterator[AskedQuestion]:
        """See `DecisionsRequest`."""
        for each in self.questions:
            yield AskedQuestion(each.id, each.type, written(each.question), each.option_texts)

    def answer(self, result: GenerationResult) -> NamedAnswers:
        """The answer to the request."""
        holes = result.metadata["holes"]
        count = result.metadata["prompt_tokens"] or 0
        return NamedAnswers(
            model=result.model_id,
            answers={question.id: _answer(question, Decision.of(holes[question.id])) for question in self.questions},
            usage={"prompt_tokens": count, "completion_tokens": 0, "total_tokens": count},
        )


class NamedAnswer(BaseModel):
    """The fields that all answers have."""

    probabilities: dict[str, float]
    confidence: float = Field(description=CONFIDENCE)
    label_mass: float = Field(description=LABEL_MASS)


class YesNoAnswer(NamedAnswer):
    """The answer to a question of yes or no."""

    type: Literal["yes_no"] = "yes_no"


class NamedChoiceAnswer(NamedAnswer):
    """The answer to a choice."""

    type: Literal["choice"] = "choice"
    choice: str = Field(description="The most probable option.")


class NamedScoreAnswer(NamedAnswer):
    """The answer to a score."""

    type: Literal["score"] = "score"
    score: float = Field(description=EXPECTED_LEVEL)


class NamedAnswers(DecisionsAnswer):
    """The answers by the ids of the questions. Probabilities have four decimals."""

    answers: dict[str, YesNoAnswer | NamedChoiceAnswer | NamedScoreAnswer]
    usage: dict[str, Any]


def _answer(question: NamedQuestion, decision: Decision) -> YesNoAnswer | NamedChoiceAnswer | NamedScoreAnswer:
    probabilities = dict(zip(question.keys, decision.rounded, strict=True))
    common = NamedAnswer(
        probabilities=probabilities,
        confidence=decision.confidence,
        label_mass=decision.rounded_mass,
    ).model_dump()
    if isinstance(question, NamedChoice):
        return NamedChoiceAnswer(choice=question.keys[decision.best], **common)
    if isinstance(question, NamedScore):
        return NamedScoreAnswer(score=decision.expected, **common)
    return YesNoAnswer(**common)
