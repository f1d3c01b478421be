"""A call of a client: one generation, or several that are answered together."""

from __future__ import annotations

import secrets
from dataclasses import dataclass


class Call:
    """One call of a client. Its generations share it, so that a mistake in it is counted once.

    Attributes:
        request_id: the id that the client gave it, or one of ours.
        is_refused: whether its refusal has been counted.
    """

    def __init__(self, request_id: str = "") -> None:
        self.request_id = request_id or secrets.token_hex(12)
        self.is_refused = False

    def parts(self, count: int) -> list[Part]:
        """Its generations. The id of each can be joined to that of the call: the only one has the same, several have
        `<id>-0`, `<id>-1`, …"""
        if count == 1:
            return [Part(self, self.request_id)]
        return [Part(self, f"{self.request_id}-{index}") for index in range(count)]


@dataclass(frozen=True, slots=True)
class Part:
    """One generation of a call."""

    call: Call
    request_id: str
