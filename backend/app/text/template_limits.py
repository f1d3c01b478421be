"""What a template that nobody has read may use up: a budget of work, and bounds on what one operation may make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from string import Formatter
from typing import Any, TypeVar

from jinja2.exceptions import SecurityError

MAX_CHARACTERS = 2**20
"""Of any text, and the largest number that may be a count or a width."""
MAX_PRODUCT = 2**24
"""Of the sizes of what is multiplied: replaced by something, joined with something, padded."""
MAX_BITS = 2**12
"""Of a whole number."""

_BUDGET = 2**24
_STEP = 64
_ELEMENT = 8

_WIDTHS = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\d*)(?:\.(\d*))?")
Item = TypeVar("Item")


class Budget:
    """The work of one rendering: a step costs 64, each character and an eighth of each element that is made 1.

    All that a rendering makes is paid for, so the budget bounds its memory and, nearly, its time.
    """

    def __init__(self) -> None:
        self._left = _BUDGET

    def step(self, steps: int = 1) -> None:
        """A call, a turn of a loop, or a number of a range."""
        self._spend(steps * _STEP)

    def made(self, value: Item) -> Item:
        """Pays for a value, and gives it back.

        Raises:
            SecurityError: it is too large, or the budget is used up.
        """
        size = weight(value)
        if size > MAX_CHARACTERS:
            raise SecurityError(f"a value is larger than {MAX_CHARACTERS} characters")
        self._spend(size)
        return value

    def counted(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, each a step."""
        for item in items:
            self.step()
            yield item

    def _spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise SecurityError("the template takes more steps, or makes more text, than a conversation needs")


def weight(value: Any) -> int:
    """How large a value is when it is written out, roughly; counting stops above `MAX_CHARACTERS`."""
    open_values, total = [value], 0
    while open_values and total <= MAX_CHARACTERS:
        item = open_values.pop()
        total += _ELEMENT
        if isinstance(item, str | bytes):
            total += len(item)
        elif isinstance(item, bool | float):
            continue
        elif isinstance(item, int):
            total += item.bit_length() // 3
        elif isinstance(item, Mapping):
            open_values += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            open_values += item
        elif isinstance(item, range):
            total += len(item)
    return total


def require_small_numbers(values: Iterable[Any]) -> None:
    """Counts and widths that an operation is given."""
    for value in values:
        if isinstance(value, int) and abs(value) > MAX_CHARACTERS:
            raise SecurityError(f"a number is over the limit of {MAX_CHARACTERS}")


def require_small_product(value: Any, others: Iterable[Any]) -> None:
    """For operations that may repeat one of their values for each element of another."""
    factor = max((other if isinstance(other, int) else weight(other) for other in others), default=1)
    if weight(value) * factor > MAX_PRODUCT:
        raise SecurityError("the operation may make too long a text")


def require_small_arithmetic(operator: str, left: Any, right: Any) -> None:
    """Numbers that grow fast, and what is repeated a number of times."""
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * (max(right, 1) if operator == "**" else 1) + right.bit_length()
        if bits > MAX_BITS:
            raise SecurityError(f"a number of more than {MAX_BITS} bits")
    elif operator == "*":
        count, repeated = (left, right) if isinstance(left, int) else (right, left)
        if isinstance(count, int) and max(count, 0) * weight(repeated) > MAX_CHARACTERS * _ELEMENT:
            raise SecurityError(f"{count} repetitions make too long a text or list")
    elif operator == "%" and isinstance(left, str | bytes):
        widths = [int(digits) for match in _WIDTHS.finditer(str(left)) for digits in match.groups() if digits]
        _require_small_format(str(left).count("%"), widths, right)


def require_small_format(text: str, values: Any) -> None:
    """As `%` for `str.format`, whose fields may also take their widths from the values."""
    specifications = [specification or "" for _, _, specification, _ in Formatter().parse(text)]
    widths = [int(digits) for each in specifications for digits in re.findall(r"\d+", each)]
    _require_small_format(text.count("{"), widths, values)


def _require_small_format(num_fields: int, widths: list[int], values: Any) -> None:
    numbers = [value for value in _flat(values) if isinstance(value, int)]
    if num_fields * (weight(values) + max([*widths, *map(abs, numbers)], default=0)) > MAX_PRODUCT:
        raise SecurityError("the format may make too long a text")


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, Mapping):
        values = tuple(values.values())
    if not isinstance(values, tuple | list):
        values = (values,)
    for value in values:
        if isinstance(value, tuple | list | Mapping):
            yield from _flat(value)
        else:
            yield value
