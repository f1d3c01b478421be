"""Types of option values; they refuse values that click's own types accept but no request can carry."""

from __future__ import annotations

import math
from typing import Any

import click


class SendableText(click.types.StringParamType):
    """Text that can be sent: a byte that is not UTF-8 arrives as half of a surrogate pair, and is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(super().convert(value, param, ctx))
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self.fail(f"byte 0x{ord(error.object[error.start]) & 0xFF:02x} is no UTF-8; give text in UTF-8", param, ctx)
        return text


class FiniteRange(click.FloatRange):
    """A finite number between bounds; click's own range accepts `nan`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number that can be sent", param, ctx)
        return number


_MAX_DIGITS = 10
"""Digits of the largest id that a request may name."""


class BiasedToken(click.ParamType[tuple[int, float]]):
    """A token's id and what is added to its logit, such as `198=-100`; the server knows which ids there are."""

    name = "ID=BIAS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, float]:
        name, sign, bias = str(value).partition("=")
        if not (sign and name.isascii() and name.isdecimal() and len(name) <= _MAX_DIGITS):
            self.fail(f"{value!r} is no token id and its bias; give them as 198=-100", param, ctx)
        return int(name), FiniteRange(-100.0, 100.0).convert(bias, param, ctx)


TEXT = SendableText()
BIASED_TOKEN = BiasedToken()
