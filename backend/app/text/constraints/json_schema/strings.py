"""JSON strings: characters are written raw, or by the short escapes of JSON.

A control character without a short escape is written by its code point where the schema lists it, and never otherwise.
"""

from __future__ import annotations

import json
from functools import lru_cache

from app.text.constraints.characters import ANY, complement, intersection
from app.text.constraints.json_schema import plain
from app.text.constraints.json_schema.formats import ANY_TEXT, ENCODINGS, FORMATS
from app.text.constraints.json_schema.keywords import refuse
from app.text.constraints.json_schema.scope import Scoped
from app.text.constraints.language import (
    Chars,
    Choice,
    Language,
    Literal,
    Machine,
    Ranges,
    Repeat,
    Sequence,
    choice,
    repeat,
    sequence,
)
from app.text.constraints.limits import Budget
from app.text.constraints.matching import framed, search, whole
from app.text.constraints.operations import intersect
from app.text.constraints.regex_parser import Branch, parse_regex

ESCAPES = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
RAW: Ranges = complement(((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)))
"""Characters that may stand raw; the slash may be written either way."""
QUOTE = Literal(b'"')


@lru_cache(maxsize=64)
def character(ranges: Ranges) -> Language:
    """One character of a set as it stands within quotation marks."""
    points = [ord(one) for one in ESCAPES]
    escapes = [Literal(ESCAPES[chr(point)].encode()) for point in points if intersection(ranges, ((point, point),))]
    raw = intersection(ranges, RAW)
    return choice([*([Chars(raw)] if raw else []), *escapes])


def within_quotes(language: Language) -> Language:
    """A language of characters, each as it stands within quotation marks."""
    match language:
        case Chars(ranges):
            return character(ranges)
        case Sequence(parts):
            return sequence(*map(within_quotes, parts))
        case Choice(parts):
            return choice(map(within_quotes, parts))
        case Repeat(part, low, high):
            return repeat(within_quotes(part), low, high)
        case _:
            return language


def free_string(low: int = 0, high: int | None = None) -> Language:
    """The strings from one number of characters to another."""
    return sequence(QUOTE, repeat(character(ANY), low, high), QUOTE)


def string(together: tuple[Scoped, ...], budget: Budget) -> Language:
    """The strings that satisfy schemas."""
    low, high = plain.least(together, "minLength"), plain.most(together, "maxLength")
    patterns = [parse_regex(pattern, budget.limits) for pattern in plain.values_of(together, "pattern")]
    formats = _formats(together, has_pattern=bool(patterns), budget=budget)
    parts = [search(branches, budget, within_quotes) for branches in patterns]
    parts += [whole(branches, budget, within_quotes) for branches in formats]
    if not parts:
        return free_string(low, high)
    shapes = [choice(map(framed, branches)) for branches in patterns]
    shapes += [choice(branch.language for branch in branches) for branches in formats]
    if not any(_is_within(shape, low, high) for shape in shapes):
        parts.append(repeat(character(ANY), low, high))
    body = parts[0] if len(parts) == 1 else Machine(intersect(parts, budget))
    return sequence(QUOTE, body, QUOTE)


def _is_within(body: Language, low: int, high: int | None) -> bool:
    """Whether the texts of an expression have no fewer characters than `low`, and no more than `high`."""
    shortest, longest = num_characters(body)
    return shortest >= low and (high is None or (longest is not None and longest <= high))


def num_characters(body: Language) -> tuple[int, int | None]:
    """The numbers of characters of an expression's shortest and longest text; None where there is no longest one."""
    match body:
        case Chars():
            return 1, 1
        case Literal(text):
            return len(text.decode()), len(text.decode())
        case Sequence(parts):
            shortest, longest = zip(*map(num_characters, parts), strict=True)
            return sum(shortest), None if None in longest else sum(longest)
        case Choice(parts) if parts:
            shortest, longest = zip(*map(num_characters, parts), strict=True)
            return min(shortest), None if None in longest else max(longest)
        case Repeat(part, low, high):
            least, most = num_characters(part)
            return low * least, None if most is None or high is None else high * most
        case _:
            return 0, None


def _formats(together: tuple[Scoped, ...], *, has_pattern: bool, budget: Budget) -> list[list[Branch]]:
    """The expressions of each format and each encoding; a format that is not known is what a pattern beside it says."""
    named = []
    for scoped in together:
        name, encoding = scoped.schema.get("format"), scoped.schema.get("contentEncoding")
        if encoding not in (None, *ENCODINGS):
            refuse("contentEncoding", scoped.path, f"{encoding!r} is not honoured (these are: {', '.join(ENCODINGS)})")
        if name not in (None, *FORMATS, *ANY_TEXT) and not has_pattern:
            honoured = ", ".join(sorted({*FORMATS, *ANY_TEXT}))
            refuse("format", scoped.path, f"{name!r} is not honoured without a pattern (these are: {honoured})")
        named += [each for each in (name, encoding) if each in FORMATS]
    return [parse_regex(FORMATS[name], budget.limits) for name in dict.fromkeys(named)]


def written(value: str) -> str:
    """One string as JSON; raises UnicodeEncodeError for half of a surrogate pair when it is encoded."""
    return json.dumps(value, ensure_ascii=False)
