"""The translation of a JSON schema into the language of the compact JSON that satisfies it."""

from __future__ import annotations

import json
from typing import Any

from app.text.constraints.dfa import Dfa
from app.text.constraints.json_schema import plain
from app.text.constraints.json_schema.alternatives import Alternatives
from app.text.constraints.json_schema.containers import array, free_object, free_value, members
from app.text.constraints.json_schema.disjoint import Together
from app.text.constraints.json_schema.keywords import HONOURED
from app.text.constraints.json_schema.literals import literal
from app.text.constraints.json_schema.numbers import ANY_NUMBER, number
from app.text.constraints.json_schema.scope import Document, Scoped
from app.text.constraints.json_schema.strings import free_string, string
from app.text.constraints.language import NEVER, Language, Machine, choice, text
from app.text.constraints.limits import Budget, check_size
from app.text.constraints.operations import minimal
from app.text.errors import ConstraintError

ATOMS = {"null": text("null"), "boolean": choice([text("true"), text("false")])}
SCALAR = choice([*ATOMS.values(), ANY_NUMBER, free_string()])
VALUE_KEYWORDS = frozenset({"type", "enum", "const", "$ref", "allOf", "anyOf", "oneOf"})
"""Keywords that are done with when the listed values of an allowed type are found."""


def dfa_of_schema(schema: Any, budget: Budget) -> Dfa:
    """The automaton of the compact JSON texts that satisfy a schema; raises ConstraintError where there is none."""
    try:
        check_size("bytes", len(json.dumps(schema)), budget.limits.source_bytes)
        translator = _Translator(schema, budget)
        dfa = minimal(translator.value((Scoped(schema),)), budget)
    except RecursionError:
        raise ConstraintError("The schema is nested too deep. Nest it less.") from None
    except UnicodeEncodeError:
        raise ConstraintError("The schema names half of a surrogate pair, which no text can hold.") from None
    if dfa.empty:
        raise ConstraintError(translator.why_empty())
    return dfa


class _Translator:
    def __init__(self, schema: Any, budget: Budget) -> None:
        self._budget = budget
        self._document = Document(schema, budget)
        self._alternatives = Alternatives(self._document, budget)
        self._free: Language | None = None
        self._empty: list[str] = []

    def why_empty(self) -> str:
        """The error of a schema that no text satisfies."""
        reasons = [f"at {path}" for path in dict.fromkeys(self._empty)][:3]
        depth = self._budget.limits.recursion
        cut = f" A reference is followed at most {depth} times within itself." if self._document.cut else ""
        return f"No JSON text satisfies the schema: nothing is left {', '.join(reasons) or 'of it'}.{cut}"

    def value(self, together: Together) -> Language:
        """The values that satisfy schemas which hold together."""
        language = choice(self._plain(found) for found in self._alternatives.of(together))
        if language == NEVER:
            self._empty.append(" and ".join(dict.fromkeys(scoped.path for scoped in together)))
        return language

    def _plain(self, together: Together) -> Language:
        """The values that satisfy plain schemas."""
        values = plain.listed(together)
        if values is not None:
            return self._listed(values, together)
        types = plain.types_of(together)
        if types == plain.ALL and not any(map(_says_something, together)):
            return self._free_value()
        return choice(self._of_type(kind, together, types) for kind in sorted(types))

    def _listed(self, values: list[Any], together: Together) -> Language:
        """The listed values that satisfy the other keywords as well."""
        if all(_keywords(scoped) <= VALUE_KEYWORDS for scoped in together):
            return choice(map(literal, values))
        others = tuple(scoped.beside(_without_lists(scoped.schema)) for scoped in together)
        dfa = minimal(self._plain(others), self._budget)
        texts = {json.dumps(value, ensure_ascii=False, separators=(",", ":")): value for value in values}
        return choice(literal(value) for shown, value in texts.items() if dfa.accepts(shown.encode()))

    def _of_type(self, kind: str, together: Together, types: frozenset[str]) -> Language:
        if kind == "string":
            return string(together, self._budget)
        if kind == "array":
            return self._array(together)
        if kind == "object":
            return self._object(together)
        if kind in ATOMS:
            return ATOMS[kind]
        if kind == plain.INTEGER and plain.FRACTION in types:
            return NEVER
        return number(together, kind == plain.INTEGER, self._budget)

    def _array(self, together: Together) -> Language:
        low, high = plain.least(together, "minItems"), plain.most(together, "maxItems")
        count = max(map(len, plain.values_of(together, "prefixItems")), default=0)
        count = count if high is None else min(count, high)
        first = [self.value(_element(together, number)) for number in range(count)]
        rest = NEVER if high is not None and high <= count else self.value(_element(together, None))
        return array(first, rest, low, high)

    def _object(self, together: Together) -> Language:
        """The objects; with any names where the schemas name none."""
        if not any("properties" in scoped.schema or scoped.schema.get("required") for scoped in together):
            others = tuple(plain.property_of((scoped,), "")[0] for scoped in together)
            return free_object(self.value(others))
        required = set(plain.required(together))
        named = ((name, self.value(plain.property_of(together, name))) for name in plain.names_of(together))
        return members([(name, value, name in required) for name, value in named])

    def _free_value(self) -> Language:
        """Any value; its automaton is built once."""
        if self._free is None:
            self._free = Machine(minimal(free_value(self._budget.limits.free_depth, SCALAR), self._budget))
        return self._free


def _keywords(scoped: Scoped) -> set[str]:
    return set(scoped.schema) & set(HONOURED)


def _says_something(scoped: Scoped) -> bool:
    return bool(_keywords(scoped) - {"$ref", "allOf", "anyOf", "oneOf"})


def _without_lists(schema: dict[str, Any]) -> dict[str, Any]:
    return {keyword: value for keyword, value in schema.items() if keyword not in ("enum", "const")}


def _element(together: Together, number: int | None) -> Together:
    """The schemas of one element of an array, or of those behind the first ones."""
    return tuple(_element_of(scoped, number) for scoped in together)


def _element_of(scoped: Scoped, number: int | None) -> Scoped:
    first = scoped.schema.get("prefixItems", ())
    if number is not None and number < len(first):
        return scoped.below(first[number], "prefixItems", number)
    return scoped.below(scoped.schema.get("items", True), "items")
