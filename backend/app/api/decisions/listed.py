"""The words of `/v1/decisions` in the form of OpenAI's API: a list of questions, and their answers in its order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, Field, StrictBool, StrictStr, model_validator

from app.api.decisions.base import AskedQuestion, DecisionsAnswer, DecisionsRequest
from app.api.decisions.content import CONFIDENCE, EXPECTED_LEVEL, LABEL_MASS, Strict, in_place, option, written
from app.services.diffusion.decisions import MAX_LEVELS, MAX_OPTIONS, MAX_QUESTIONS, Decision
from app.services.diffusion.models import GenerationResult

Value = StrictStr | StrictBool
"""A text and a truth value that are written alike are two values."""


class TextPart(Strict):
    """A part of a text."""

    type: Literal["input_text", "output_text"]
    text: str


class JsonPart(Strict):
    """A part that is JSON."""

    type: Literal["input_json"]
    data: dict[str, Any] | list[dict[str, Any]]


Part: TypeAlias = Annotated[TextPart | JsonPart, Field(discriminator="type")]
Words: TypeAlias = Annotated[str, Field(min_length=1)] | Annotated[list[Part], Field(min_length=1)]


class InputMessage(Strict):
    """A turn of a conversation that the questions are about."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Words
    phase: str | None = None


class Instructed(Strict):
    """The fields that all questions have."""

    name: str | None = None
    instructions: Words


class PredicateQuestion(Instructed):
    """The question whether something is so, answered by the probability of yes."""

    type: Literal["predicate"]


class ChoiceOption(Strict):
    """A value that may be chosen."""

    value: Value
    description: str | None = None

    @property
    def text(self) -> str:
        """The option, for the model to read."""
        value = str(self.value).lower() if isinstance(self.value, bool) else self.value
        return option(value, self.description or "")


class ListedChoice(Instructed):
    """The question which of some values it is."""

    type: Literal["choice"]
    choices: list[ChoiceOption] = Field(min_length=2, max_length=MAX_OPTIONS)

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Self:
        values = [(type(each.value), each.value) for each in self.choices]
        if len({*values}) < len(values):
            raise in_place("has the same value twice among its choices; give each once")
        return self


class ScoreLevel(Strict):
    """A level of a scale."""

    label: str = Field(min_length=1)
    description: str | None = None


class ListedScore(Instructed):
    """The question which level of a scale it is."""

    type: Literal["score"]
    levels: list[ScoreLevel] = Field(min_length=2, max_length=MAX_LEVELS, description="Lowest first.")


ListedQuestion: TypeAlias = Annotated[PredicateQuestion | ListedChoice | ListedScore, Field(discriminator="type")]


class ListedDecisions(DecisionsRequest):
    """Answers a list of questions about an input by the probabilities of their options."""

    input: Words | Annotated[list[InputMessage], Field(min_length=1)]
    questions: list[ListedQuestion] = Field(min_length=1, max_length=MAX_QUESTIONS)
    safety_identifier: str | None = Field(None, description="Without effect.")
    prompt_cache_key: str | None = Field(None, description="Without effect.")
    prompt_cache_options: dict[str, Any] | None = Field(None, description="Without effect.")

    def text(self) -> str:
        """See `DecisionsRequest`."""
        return _state(self.input)

    def asked(self) -> Iterator[AskedQuestion]:
        """See `DecisionsRequest`."""
        for index, question in enumerate(self.questions):
            kind = "yes_no" if question.type == "predicate" else question.type
            yield AskedQuestion(str(index), kind, _words(question.instructions), _options(question))

    def answer(self, result: GenerationResult) -> ListedAnswers:
        """The answer to the request."""
        holes = result.metadata["holes"]
        answers = [_answer(question, Decision.of(holes[str(index)])) for index, question in enumerate(self.questions)]
        return ListedAnswers(model=result.model_id, answers=answers, usage=_usage(result))


class ListedAnswer(BaseModel):
    """The fields that all answers have."""

    name: str | None
    label_mass: float = Field(description=LABEL_MASS)


class PredicateAnswer(ListedAnswer):
    """The answer to a predicate."""

    type: Literal["predicate"] = "predicate"
    probability: float = Field(description="Probability of yes.")


class ValueProbability(BaseModel):
    """The probability of a value."""

    value: Value
    probability: float


class ListedChoiceAnswer(ListedAnswer):
    """The answer to a choice."""

    type: Literal["choice"] = "choice"
    choice: Value = Field(description="The most probable value.")
    confidence: float = Field(description=CONFIDENCE)
    probabilities: list[ValueProbability]


class LevelProbability(BaseModel):
    """The probability of a level."""

    value: int
    label: str
    probability: float


class ListedScoreAnswer(ListedAnswer):
    """The answer to a score."""

    type: Literal["score"] = "score"
    score: float = Field(description=EXPECTED_LEVEL)
    confidence: float = Field(description=CONFIDENCE)
    probabilities: list[LevelProbability]


class ListedAnswers(DecisionsAnswer):
    """The answers in the order of the questions. Probabilities have four decimals."""

    answers: list[PredicateAnswer | ListedChoiceAnswer | ListedScoreAnswer]
    usage: dict[str, Any]


def _options(question: ListedQuestion) -> list[str]:
    if isinstance(question, ListedChoice):
        return [each.text for each in question.choices]
    if isinstance(question, ListedScore):
        return [option(level.label, level.description or "") for level in question.levels]
    return ["", ""]


def _words(words: Words) -> str:
    if isinstance(words, str):
        return words
    return "\n".join(part.text if isinstance(part, TextPart) else written(part.data) for part in words)


def _state(given: Words | list[InputMessage]) -> str:
    if isinstance(given, str):
        return given
    messages = [each for each in given if isinstance(each, InputMessage)]
    if len(messages) == 1 and messages[0].role == "user":
        return _words(messages[0].content)
    turns = [f"{each.role.capitalize()}: {_words(each.content)}" for each in messages]
    return "\n\n".join(turns) or _words([each for each in given if not isinstance(each, InputMessage)])


def _answer(question: ListedQuestion, decision: Decision) -> PredicateAnswer | ListedChoiceAnswer | ListedScoreAnswer:
    name, mass, confidence = question.name, decision.rounded_mass, decision.confidence
    if isinstance(question, PredicateQuestion):
        return PredicateAnswer(name=name, probability=decision.rounded[0], label_mass=mass)
    if isinstance(question, ListedChoice):
        values = [each.value for each in question.choices]
        each = [ValueProbability(value=value, probability=p) for value, p in zip(values, decision.rounded, strict=True)]
        choice = values[decision.best]
        return ListedChoiceAnswer(name=name, label_mass=mass, choice=choice, confidence=confidence, probabilities=each)
    levels = [
        LevelProbability(value=number, label=level.label, probability=probability)
        for number, (level, probability) in enumerate(zip(question.levels, decision.rounded, strict=True))
    ]
    score = decision.expected
    return ListedScoreAnswer(name=name, label_mass=mass, score=score, confidence=confidence, probabilities=levels)


def _usage(result: GenerationResult) -> dict[str, Any]:
    count = result.metadata["prompt_tokens"] or 0
    return {
        "input_tokens": count,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": count,
    }
