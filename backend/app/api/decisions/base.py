"""The parts that all three forms have: what is asked of which model, and what each answer says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from app.api.decisions.bodies import decision_params
from app.api.decisions.content import Strict
from app.services.diffusion.decisions import PROMPT_FORMAT_VERSION, DiffusionDecisionParams, Permutations


class AskedQuestion(NamedTuple):
    """A question in the words of the service."""

    name: str
    kind: Literal["yes_no", "choice", "score"]
    instructions: str
    options: list[str]


class DecisionsRequest(Strict, ABC):
    """The fields that all requests have."""

    NAMES: ClassVar[Mapping[str, str]] = {"model_id": "model", "state": "input"}
    """The client's names of the service's fields."""

    model: Annotated[str | None, Field(max_length=200, description="Default: the configured model.")] = None
    permutations: Permutations = None

    @abstractmethod
    def text(self) -> str:
        """Gives what the questions are about."""

    @abstractmethod
    def asked(self) -> Iterator[AskedQuestion]:
        """Gives the questions in their order."""

    def params(self) -> DiffusionDecisionParams:
        """The request to the service. Raises InvalidBody."""
        questions = [question._asdict() for question in self.asked()]
        given = {"model_id": self.model or None, "state": self.text(), "permutations": self.permutations}
        return decision_params({**given, "questions": questions}, self.NAMES)


class DecisionsAnswer(BaseModel):
    """The fields that all answers to a request have."""

    model_config = ConfigDict(protected_namespaces=())

    model: str = Field(description="The model that really answered.")
    prompt_format_version: int = PROMPT_FORMAT_VERSION
    calibrated: Literal[False] = False
