"""The one way from a constraint's source to an automaton over tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from app.text.constraints.compiled import CompiledConstraint, over_tokens
from app.text.constraints.dfa import Dfa
from app.text.constraints.json_schema.translator import dfa_of_schema
from app.text.constraints.limits import DEFAULT_LIMITS, Budget, Limits, check_size
from app.text.constraints.matching import whole
from app.text.constraints.operations import minimal
from app.text.constraints.regex_parser import parse_regex
from app.text.constraints.texts import dfa_of_texts
from app.text.constraints.vocabulary import Vocabulary
from app.text.errors import ConstraintError

Kind = Literal["json_schema", "regex", "choices"]


def compile_constraint(
    kind: Kind, source: Any, vocabulary: Vocabulary, *, limits: Limits = DEFAULT_LIMITS
) -> CompiledConstraint:
    """The automaton over tokens that accepts the texts that satisfy a constraint.

    The source is a schema, a pattern that the whole text matches, or a list of texts. Raises ConstraintError for what
    is not honoured, for what no text satisfies, and beyond the limits.
    """
    budget = Budget(limits)
    return over_tokens(_DFAS[kind](source, budget), vocabulary, budget)


def dfa_of_regex(pattern: str, budget: Budget) -> Dfa:
    """The automaton of all texts that a regular expression matches as a whole."""
    dfa = minimal(whole(parse_regex(pattern, budget.limits), budget), budget)
    if dfa.empty:
        raise ConstraintError("No text matches the regular expression.")
    return dfa


def dfa_of_choices(choices: Sequence[str], budget: Budget) -> Dfa:
    """The automaton of a list of texts; one that stands twice counts once, and the empty text is one."""
    if not choices:
        raise ConstraintError("The list of choices is empty. Name at least one text.")
    check_size("choices", len(choices), budget.limits.choices)
    check_size("bytes", sum(map(len, choices)), budget.limits.source_bytes)
    return dfa_of_texts(map(_encoded, choices), budget)


def _encoded(choice: str) -> bytes:
    try:
        return choice.encode()
    except UnicodeEncodeError:
        raise ConstraintError(f"The choice {choice!r} has half of a surrogate pair, which no text can hold.") from None


_DFAS: dict[str, Callable[[Any, Budget], Dfa]] = {
    "json_schema": dfa_of_schema,
    "regex": dfa_of_regex,
    "choices": dfa_of_choices,
}
