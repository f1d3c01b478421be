"""JSON strings: characters are written raw, or by the short escapes of JSON.

A control character without a short escape is written by its code point where the schema lists it, and never otherwise.
"""

from __future__ import annotations

import json
from functools import lru_cache

from app.text.constraints.characters import ANY, complement, intersection
from app.text.constraints.json_schema import plain
from app.text.constraints.json_schema.formats import FORMATS
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
from app.text.constraints.operations import intersect
from app.text.constraints.regex_parser import parse_regex, search, whole

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
    parts = [_pattern(pattern, budget) for pattern in plain.values_of(together, "pattern")]
    parts += [_format(scoped, budget) for scoped in together if "format" in scoped.schema]
    if not parts:
        return free_string(low, high)
    if (low, high) != (0, None):
        parts.append(repeat(character(ANY), low, high))
    body = parts[0] if len(parts) == 1 else Machine(intersect(parts, budget))
    return sequence(QUOTE, body, QUOTE)


def _pattern(pattern: str, budget: Budget) -> Language:
    anything = repeat(Chars(ANY), 0, None)
    return within_quotes(search(parse_regex(pattern, budget.limits), anything))


def _format(scoped: Scoped, budget: Budget) -> Language:
    name = scoped.schema["format"]
    if name not in FORMATS:
        refuse("format", scoped.path, f"{name!r} is not honoured (these are: {', '.join(sorted(FORMATS))})")
    return within_quotes(whole(parse_regex(FORMATS[name], budget.limits)))


def written(value: str) -> str:
    """One string as JSON; raises UnicodeEncodeError for half of a surrogate pair when it is encoded."""
    return json.dumps(value, ensure_ascii=False)
