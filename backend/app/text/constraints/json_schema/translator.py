"""The translation of a JSON schema into the language of the compact JSON that satisfies it."""

from __future__ import annotations

import json
from typing import Any

from app.text.constraints.dfa import Dfa
from app.text.constraints.json_schema import plain
from app.text.constraints.json_schema.alternatives import Alternatives
from app.text.constraints.json_schema.containers import FREE_NAME, Bounds, array, free_value, mapping, members, some_of
from app.text.constraints.json_schema.disjoint import Together
from app.text.constraints.json_schema.keywords import HONOURED, refuse
from app.text.constraints.json_schema.literals import literal
from app.text.constraints.json_schema.numbers import ANY_NUMBER, number
from app.text.constraints.json_schema.scope import Document, Scoped
from app.text.constraints.json_schema.strings import free_string, string
from app.text.constraints.language import NEVER, Language, Machine, choice, sequence, text
from app.text.constraints.limits import Budget, check_size
from app.text.constraints.operations import minimal
from app.text.errors import ConstraintError

ATOMS = {"null": text("null"), "boolean": choice([text("true"), text("false")])}
SCALAR = choice([*ATOMS.values(), ANY_NUMBER, free_string()])
TEXT_TYPE = Scoped({"type": "string"})
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
        texts = {compact(value): value for value in values}
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
        if any(plain.values_of(together, "uniqueItems")) and (high is None or high > 1):
            return self._set(together, low, high)
        count = max(len(plain.first_items(scoped)[1]) for scoped in together)
        count = count if high is None else min(count, high)
        first = [self.value(_element(together, number)) for number in range(count)]
        rest = NEVER if high is not None and high <= count else self.value(_element(together, None))
        return array(first, rest, low, high)

    def _set(self, together: Together, low: int, high: int | None) -> Language:
        """The arrays without equal elements: of listed values, in their order."""
        has_first = any(plain.first_items(scoped)[1] for scoped in together)
        values = None if has_first else self._all_of(_element(together, None))
        if values is None:
            where = next(scoped for scoped in together if scoped.schema.get("uniqueItems"))
            refuse("uniqueItems", where.path, "is honoured where the items are listed (enum, const)")
        some = some_of([(literal(value), False) for value in values], Bounds(low, high, self._budget))
        return sequence(text("["), some, text("]"))

    def _all_of(self, together: Together) -> list[Any] | None:
        """The values that satisfy schemas, each once; None where they are not listed."""
        listed = [plain.listed(found) for found in self._alternatives.of(together)]
        if None in listed:
            return None
        dfa = minimal(self.value(together), self._budget)
        values: list[Any] = []
        for value in (value for each in listed for value in each or ()):
            if dfa.accepts(compact(value).encode()) and not any(plain.equal(value, other) for other in values):
                values.append(value)
        return values

    def _object(self, together: Together) -> Language:
        """The objects; with any names where the schemas name none."""
        low, high = plain.least(together, "minProperties"), plain.most(together, "maxProperties")
        if not any("properties" in scoped.schema or scoped.schema.get("required") for scoped in together):
            return self._mapping(together, low, high)
        for scoped in together:
            if "patternProperties" in scoped.schema:
                refuse("patternProperties", scoped.path, "is not honoured where properties are named")
        names = self._names(tuple(name for scoped in together for name in _names(scoped)))
        required = set(plain.required(together))
        parts = [(name, self.value(plain.property_of(together, name))) for name in plain.names_of(together)]
        allowed = ((name, value if _is_allowed(name, names) else NEVER) for name, value in parts)
        return members([(name, value, name in required) for name, value in allowed], Bounds(low, high, self._budget))

    def _names(self, schemas: Together) -> Dfa | None:
        """The names that satisfy schemas; None where there are no schemas."""
        return minimal(self.value((*schemas, TEXT_TYPE)), self._budget) if schemas else None

    def _mapping(self, together: Together, low: int, high: int | None) -> Language:
        """The objects whose names are not those of properties: each listed name once at most, or any names."""
        names, values = zip(*map(_names_and_values, together), strict=True)
        value = self.value(values)
        wanted = tuple(name for each in names for name in each)
        listed = self._all_of((*wanted, TEXT_TYPE))
        if listed is not None:
            return members([(name, value, False) for name in listed], Bounds(low, high, self._budget))
        if low > 1:
            where = next(scoped for scoped in together if "minProperties" in scoped.schema)
            refuse("minProperties", where.path, "above 1 is honoured where names are listed, for others may be equal")
        dfa = self._names(wanted)
        return mapping(FREE_NAME if dfa is None else Machine(dfa), value, low, high)

    def _free_value(self) -> Language:
        """Any value; its automaton is built once."""
        if self._free is None:
            self._free = Machine(minimal(free_value(self._budget.limits.free_depth, SCALAR), self._budget))
        return self._free


def compact(value: Any) -> str:
    """A value as JSON without a space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_allowed(name: str, names: Dfa | None) -> bool:
    return names is None or names.accepts(compact(name).encode())


def _names(scoped: Scoped) -> list[Scoped]:
    """The schema of names, where there is one."""
    return [scoped.below(scoped.schema["propertyNames"], "propertyNames")] if "propertyNames" in scoped.schema else []


def _names_and_values(scoped: Scoped) -> tuple[list[Scoped], Scoped]:
    """The schemas of names and the one of values that an object without named properties has by a schema."""
    patterns = scoped.schema.get("patternProperties", {})
    if len(patterns) > 1:
        refuse("patternProperties", scoped.path, "is honoured with one pattern")
    for pattern, value in patterns.items():
        matching = scoped.below({"pattern": pattern}, "patternProperties")
        return [*_names(scoped), matching], scoped.below(value, "patternProperties", pattern)
    return _names(scoped), plain.property_of((scoped,), "")[0]


def _keywords(scoped: Scoped) -> set[str]:
    return set(scoped.schema) & set(HONOURED)


def _says_something(scoped: Scoped) -> bool:
    return bool(_keywords(scoped) - {"$ref", "allOf", "anyOf", "oneOf"})


def _without_lists(schema: dict[str, Any]) -> dict[str, Any]:
    return {keyword: value for keyword, value in schema.items() if keyword not in ("enum", "const")}


def _element(together: Together, number: int | None) -> Together:
    """The schemas of one element of an array, or of those behind the first ones."""
    return tuple(plain.element_of(scoped, number) for scoped in together)
