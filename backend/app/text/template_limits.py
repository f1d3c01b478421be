"""Limits for templates that nobody has reviewed: a budget of work, and bounds on the result of one operation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from string import Formatter
from typing import Any, TypeVar

from jinja2.exceptions import SecurityError

MAX_CHARACTERS = 2**20
"""The largest size of any text, and the largest number that may be a count or a width."""
MAX_PRODUCT = 2**24
"""The largest product of the sizes of an operation's values, where it replaces, joins or pads."""
MAX_BITS = 2**12
"""The largest size of an integer, in bits."""

_BUDGET = 2**24
_STEP = 64
_ELEMENT = 8

_WIDTHS = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\d*)(?:\.(\d*))?")
Item = TypeVar("Item")


class Budget:
    """The work that one rendering may do: a step costs 64, an element that is made 8, a character 1.

    Every value that a rendering makes is paid for, so the budget bounds its memory and, nearly, its time.
    """

    def __init__(self) -> None:
        self._left = _BUDGET

    def step(self, steps: int = 1) -> None:
        """Pays for steps: calls, iterations of a loop, or numbers of a range.

        Raises:
            SecurityError: the budget is used up.
        """
        self._spend(steps * _STEP)

    def made(self, value: Item) -> Item:
        """Pays for a value, and returns it.

        Raises:
            SecurityError: the value is too large, or the budget is used up.
        """
        size = weight(value)
        if size > MAX_CHARACTERS:
            raise SecurityError(f"a value is larger than {MAX_CHARACTERS} characters")
        self._spend(size)
        return value

    def counted(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; each costs a step."""
        for item in items:
            self.step()
            yield item

    def _spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise SecurityError("the template takes more steps, or makes more text, than a conversation needs")


def weight(value: Any) -> int:
    """The approximate size of a value when it is written out; counting stops above `MAX_CHARACTERS`."""
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
    """Checks the counts and widths that an operation is given.

    Raises:
        SecurityError: one is over the limit.
    """
    for value in values:
        if isinstance(value, int) and abs(value) > MAX_CHARACTERS:
            raise SecurityError(f"a number is over the limit of {MAX_CHARACTERS}")


def require_small_product(value: Any, others: Iterable[Any]) -> None:
    """Checks an operation that may repeat one of its values for each element of another.

    Raises:
        SecurityError: the result may be too large.
    """
    factor = max((other if isinstance(other, int) else weight(other) for other in others), default=1)
    if weight(value) * factor > MAX_PRODUCT:
        raise SecurityError("the operation may make too long a text")


def require_small_arithmetic(operator: str, left: Any, right: Any) -> None:
    """Checks arithmetic on large numbers, repetitions of a text or list, and formats with `%`.

    Raises:
        SecurityError: the result may be too large.
    """
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
    """Checks `str.format` as `%` is checked; its fields may also take their widths from the values.

    Raises:
        SecurityError: the result may be too large.
    """
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
