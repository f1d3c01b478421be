"""The words of `/v1/systemone`: named questions about a state, and their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import BaseModel, Field, model_validator

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
from app.core.entries import at_most
from app.services.diffusion.decisions import MAX_LEVELS, MAX_OPTIONS, MAX_QUESTIONS, Decision
from app.services.diffusion.models import GenerationResult


class NoulCriteria(Strict):
    """The descriptions of yes and of no."""

    true: Content | None = None
    false: Content | None = None


class NoulQuestion(Strict):
    """The question whether something is so, answered by the probability of yes."""

    type: Literal["noul"]
    instructions: Content | None = None
    criteria: NoulCriteria | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not (self.instructions or self.options != ["", ""]):
            raise in_place("has neither instructions nor criteria; give one of them")
        return self

    @property
    def options(self) -> list[str]:
        """The texts of yes and no."""
        criteria = self.criteria or NoulCriteria()
        return [written(criteria.true), written(criteria.false)]


Name = Annotated[str, Field(min_length=1)]


class ChoiceQuestion(Strict):
    """The question which of some options it is."""

    type: Literal["choice"]
    instructions: Content | None = None
    criteria: Annotated[dict[Name, Content | None], at_most(MAX_OPTIONS)] = Field(
        min_length=1, max_length=MAX_OPTIONS, description="The options, each with a description or null."
    )

    @property
    def options(self) -> list[str]:
        """The texts of the options."""
        return [option(name, written(description)) for name, description in self.criteria.items()]


class ScoreQuestion(Strict):
    """The question which level of a scale it is."""

    type: Literal["score"]
    instructions: Content | None = None
    criteria: list[Needed] = Field(min_length=1, max_length=MAX_LEVELS, description="The levels, lowest first.")

    @property
    def options(self) -> list[str]:
        """The texts of the levels."""
        return list(map(written, self.criteria))


SystemOneQuestion: TypeAlias = Annotated[NoulQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


class SystemOneRequest(DecisionsRequest):
    """Answers questions about a state by the probabilities of their options."""

    NAMES: ClassVar[Mapping[str, str]] = {"model_id": "model"}

    state: Needed = Field(description="What the questions are about: text, or JSON. At most 200,000 characters.")
    questions: Annotated[dict[Name, SystemOneQuestion], at_most(MAX_QUESTIONS)] = Field(
        min_length=1, max_length=MAX_QUESTIONS, description="By names of your choice; at most 20,000 characters each."
    )

    def text(self) -> str:
        """See `DecisionsRequest`."""
        return written(self.state)

    def asked(self) -> Iterator[AskedQuestion]:
        """See `DecisionsRequest`."""
        for name, question in self.questions.items():
            kind = "yes_no" if question.type == "noul" else question.type
            yield AskedQuestion(name, kind, written(question.instructions), question.options)


class SystemOneUsage(BaseModel):
    """The tokens that were read; none is written."""

    input_tokens: int
    output_tokens: int = 0


class NoulAnswer(BaseModel):
    """The answer to a noul question."""

    type: Literal["noul"] = "noul"
    noul: float = Field(description="Probability of yes.")


class ChoiceAnswer(BaseModel):
    """The answer to a choice."""

    type: Literal["choice"] = "choice"
    choice: str = Field(description="The most probable option.")
    confidence: float = Field(description=CONFIDENCE)
    probabilities: dict[str, float]


class ScoreAnswer(BaseModel):
    """The answer to a score."""

    type: Literal["score"] = "score"
    score: float = Field(description=EXPECTED_LEVEL)
    confidence: float = Field(description=CONFIDENCE)
    legend: dict[str, Content] = Field(description="The levels by their numbers.")
    probabilities: dict[str, float]


SystemOneAnswer: TypeAlias = NoulAnswer | ChoiceAnswer | ScoreAnswer


class Diagnostics(BaseModel):
    """The signs of whether the model understood a question."""

    label_mass: float = Field(description=LABEL_MASS)
    labels: list[str] = Field(description="The labels by which the model answers, one token each.")
    method: Literal["marginal"] = Field(description="The exact distribution at one mask.")


class SystemOneResponse(DecisionsAnswer):
    """The answers to all questions, by name. Probabilities have four decimals."""

    answers: dict[str, SystemOneAnswer]
    usage: SystemOneUsage
    diagnostics: dict[str, Diagnostics]

    @classmethod
    def of(cls, asked: SystemOneRequest, result: GenerationResult) -> Self:
        """The answer to a request."""
        holes = result.metadata["holes"]
        return cls(
            model=result.model_id,
            answers={name: _answer(question, Decision.of(holes[name])) for name, question in asked.questions.items()},
            usage=SystemOneUsage(input_tokens=result.metadata["prompt_tokens"] or 0),
            diagnostics={
                name: Diagnostics(**{**hole, "label_mass": Decision.of(hole).rounded_mass})
                for name, hole in holes.items()
            },
        )


def _answer(question: SystemOneQuestion, decision: Decision) -> SystemOneAnswer:
    if isinstance(question, NoulQuestion):
        return NoulAnswer(noul=decision.rounded[0])
    confidence = decision.confidence
    if isinstance(question, ChoiceQuestion):
        names = list(question.criteria)
        probabilities = dict(zip(names, decision.rounded, strict=True))
        return ChoiceAnswer(choice=names[decision.best], confidence=confidence, probabilities=probabilities)
    legend = {str(number): level for number, level in enumerate(question.criteria)}
    probabilities = dict(zip(legend, decision.rounded, strict=True))
    return ScoreAnswer(score=decision.expected, confidence=confidence, legend=legend, probabilities=probabilities)
