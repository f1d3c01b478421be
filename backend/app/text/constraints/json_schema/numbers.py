"""JSON numbers between bounds, digit by digit; they are written in decimals, without an exponent."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from app.text.constraints.dfa import Dfa, dfa_of_rows
from app.text.constraints.json_schema import plain
from app.text.constraints.json_schema.keywords import refuse
from app.text.constraints.json_schema.plain import Bound
from app.text.constraints.json_schema.scope import Scoped
from app.text.constraints.language import EMPTY, Chars, Language, Machine, choice, optional, repeat, sequence, text
from app.text.constraints.limits import Budget, check_size
from app.text.constraints.operations import intersect

DIGIT = Chars(((0x30, 0x39),))
LEADING = Chars(((0x31, 0x39),))
MINUS, POINT = text("-"), text(".")
ANY_NUMBER = sequence(
    optional(MINUS),
    choice([text("0"), sequence(LEADING, repeat(DIGIT, 0, None))]),
    optional(sequence(POINT, repeat(DIGIT, 1, None))),
)

DECIMALS = 6
"""Digits behind the point of a number with bounds, so that it has no more digits than a float distinguishes."""
FINE = 10**9
"""Bounds up to here leave room for the decimals: 9 and 6 digits make 15."""
MOST_DECIMALS = 60
"""Digits behind the point where the bounds are so near to each other that fewer leave no number between them."""
MOST_DIGITS = 300
MOST_REMAINDERS = 5000


@dataclass(frozen=True)
class Divisor:
    """A number in units of its last decimal: 0.25 is 25 with 2 decimals."""

    units: int
    decimals: int


def number(together: tuple[Scoped, ...], whole: bool, budget: Budget) -> Language:
    """The numbers that satisfy schemas, or the integers among them."""
    low, high = plain.lowest(together), plain.highest(together)
    divisors = [_divisor(scoped) for scoped in together if "multipleOf" in scoped.schema]
    if not divisors and not whole and low is None and high is None:
        return ANY_NUMBER
    is_fine = not whole and all(bound is None or abs(bound.value) < FINE for bound in (low, high))
    decimals = min([DECIMALS, *(divisor.decimals for divisor in divisors)]) if is_fine else 0
    if not divisors:
        return _between(low, high, decimals if whole else _with_room(low, high, decimals))
    numbers = _between(low, high, decimals)
    return Machine(intersect([numbers, *(Machine(multiples(divisor)) for divisor in divisors)], budget))


def _with_room(low: Bound | None, high: Bound | None, decimals: int) -> int:
    """The decimals, or as many more as it takes until there is a number between the bounds."""
    if low is None or high is None:
        return decimals
    enough = (more for more in range(decimals, MOST_DECIMALS + 1) if _start(low, 10**more) <= _end(high, 10**more))
    return next(enough, decimals)


def _divisor(scoped: Scoped) -> Divisor:
    value = plain.exactly(scoped.schema["multipleOf"])
    decimals = next((places for places in range(DECIMALS + 1) if (value * 10**places).denominator == 1), None)
    if decimals is None or value * 10**decimals * (decimals + 1) > MOST_REMAINDERS:
        refuse(
            "multipleOf",
            scoped.path,
            f"is {scoped.schema['multipleOf']}, and is honoured for whole numbers up to {MOST_REMAINDERS} and for "
            "short decimals such as 0.01 and 2.5",
        )
    return Divisor(int(value * 10**decimals), decimals)


def _between(low: Bound | None, high: Bound | None, decimals: int) -> Language:
    """The numbers between two bounds with at most some decimals, counted in units of the last one."""
    unit = 10**decimals
    start = None if low is None else _start(low, unit)
    end = None if high is None else _end(high, unit)
    for bound in (start, end):
        check_size("digits in the bounds of a number", len(str(bound or 0)), MOST_DIGITS)
    parts = []
    if end is None or end >= 0:
        parts.append(_from(max(start or 0, 0), end, decimals))
    if start is None or start < 0:
        upper = None if start is None else -start
        parts.append(sequence(MINUS, _from(max(1, -end if end is not None else 1), upper, decimals)))
    return choice(parts)


def _start(low: Bound, unit: int) -> int:
    scaled = low.value * unit
    return floor(scaled) + 1 if low.exclusive else ceil(scaled)


def _end(high: Bound, unit: int) -> int:
    scaled = high.value * unit
    return ceil(scaled) - 1 if high.exclusive else floor(scaled)


def _from(low: int, high: int | None, decimals: int) -> Language:
    """The numbers from low to high units, none of them negative: 1.25 to 3.5 with 2 decimals is 125 to 350."""
    if high is not None and low > high:
        return choice([])
    unit = 10**decimals
    first, rest = divmod(low, unit)
    if high is None:
        edge = sequence(text(str(first)), _fraction(rest, unit - 1, decimals))
        return choice([edge, sequence(naturals(first + 1, None), _fraction(0, unit - 1, decimals))])
    last, end = divmod(high, unit)
    if first == last:
        return sequence(text(str(first)), _fraction(rest, end, decimals))
    return choice(
        [
            sequence(text(str(first)), _fraction(rest, unit - 1, decimals)),
            sequence(naturals(first + 1, last - 1), _fraction(0, unit - 1, decimals)),
            sequence(text(str(last)), _fraction(0, end, decimals)),
        ]
    )


def _fraction(low: int, high: int, decimals: int) -> Language:
    """The point and digits whose value, filled up with zeros, lies between two; nothing at all stands for zero."""
    if decimals == 0:
        return EMPTY if low <= high else choice([])
    digits = _more(str(low).zfill(decimals), str(high).zfill(decimals)) if low <= high else choice([])
    behind = sequence(POINT, digits)
    return optional(behind) if low == 0 else behind


def _tail(low: str, high: str) -> Language:
    """The further digits, or none where zeros would do."""
    if not int(low or "0"):
        return optional(_more(low, high)) if low else EMPTY
    return _more(low, high)


def _more(low: str, high: str) -> Language:
    """At least one digit, so that what is filled up with zeros lies between two of the same length."""
    if set(low) == {"0"} and set(high) == {"9"}:
        return repeat(DIGIT, 1, len(low))
    if low[0] == high[0]:
        return sequence(text(low[0]), _tail(low[1:], high[1:]))
    zeros, nines = "0" * (len(low) - 1), "9" * (len(low) - 1)
    return choice(
        [
            sequence(text(low[0]), _tail(low[1:], nines)),
            sequence(_digits(int(low[0]) + 1, int(high[0]) - 1), _tail(zeros, nines)),
            sequence(text(high[0]), _tail(zeros, high[1:])),
        ]
    )


def _digits(first: int, last: int) -> Language:
    return Chars(((0x30 + first, 0x30 + last),)) if first <= last else choice([])


def naturals(low: int, high: int | None) -> Language:
    """The integers from low (at least 0) to high, in decimal; from 7 to 1234: 7-9, 10-99, 100-999 and 1000-1234."""
    if high is not None and low > high:
        return choice([])
    digits = len(str(low))
    if high is None:
        longer = sequence(LEADING, repeat(DIGIT, digits, None))
        return choice([_alike(str(low), "9" * digits), longer])
    last = len(str(high))
    if digits == last:
        return _alike(str(low), str(high))
    between = sequence(LEADING, repeat(DIGIT, digits, last - 2)) if last - digits > 1 else choice([])
    return choice([_alike(str(low), "9" * digits), between, _alike("1" + "0" * (last - 1), str(high))])


def _alike(low: str, high: str) -> Language:
    """The numbers between two with the same number of digits."""
    if not low:
        return EMPTY
    if set(low[1:]) <= {"0"} and set(high[1:]) <= {"9"}:
        return sequence(_digits(int(low[0]), int(high[0])), repeat(DIGIT, len(low) - 1, len(low) - 1))
    if low[0] == high[0]:
        return sequence(text(low[0]), _alike(low[1:], high[1:]))
    zeros, nines = "0" * (len(low) - 1), "9" * (len(low) - 1)
    return choice(
        [
            sequence(text(low[0]), _alike(low[1:], nines)),
            sequence(_digits(int(low[0]) + 1, int(high[0]) - 1), repeat(DIGIT, len(zeros), len(zeros))),
            sequence(text(high[0]), _alike(zeros, high[1:])),
        ]
    )


def multiples(divisor: Divisor) -> Dfa:
    """The automaton of decimals whose number is a multiple of the divisor, with no more digits behind the point.

    State 0 is the start, state 1 stands behind the minus; then there is a state for each remainder of the digits
    without the point, once for digits before the point and once for each number of digits behind it.
    """
    units, decimals = divisor.units, divisor.decimals
    stages = range(decimals + 2 if decimals else 1)  # the digits before the point, then the point with more and more

    def state(stage: int, remainder: int) -> int:
        return 2 + stage * units + remainder % units

    rows = [[(0x30 + digit, 0x30 + digit, state(0, digit)) for digit in range(10)] for _ in range(2)]
    rows[0].append((0x2D, 0x2D, 1))
    accepting = [False, False]
    for stage in stages:
        follower = stage and stage + 1
        missing = 10 ** (decimals - max(stage - 1, 0))
        for remainder in range(units):
            more = range(10) if follower in stages else ()
            row = [(0x30 + digit, 0x30 + digit, state(follower, 10 * remainder + digit)) for digit in more]
            rows.append([*row, (0x2E, 0x2E, state(1, remainder))] if stage == 0 and decimals else row)
            accepting.append(remainder * missing % units == 0)
    return dfa_of_rows(rows, accepting)
