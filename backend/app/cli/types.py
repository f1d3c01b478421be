"""Kinds of values that click's own let through although no request can carry them."""

from __future__ import annotations

import math
from typing import Any

import click


class SendableText(click.types.StringParamType):
    """Text. A byte that is no UTF-8 comes from the shell as half of a surrogate pair, which nothing can send."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(super().convert(value, param, ctx))
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self.fail(f"byte 0x{ord(error.object[error.start]) & 0xFF:02x} is no UTF-8; give text in UTF-8", param, ctx)
        return text


class FiniteRange(click.FloatRange):
    """A number between bounds; `nan` is beyond none of them, and is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number that can be sent", param, ctx)
        return number


TEXT = SendableText()
