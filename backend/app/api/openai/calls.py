"""A call in words, `{"name": "add", "arguments": {"a": 1}}`, as the model writes it where it chooses the function."""

from __future__ import annotations

import json
import re

_HEAD = re.compile(r'\{"name": ?("(?:[^"\\]|\\.)*"), ?"arguments": ?(?=\S)')


class CallReader:
    """Reads one call piece by piece."""

    def __init__(self) -> None:
        self.function: str | None = None
        """The function's name, once it is there as a whole."""
        self._rest = ""

    def read(self, piece: str) -> str:
        """The next piece of the arguments; nothing before the name is there. The brace that closes the call is none."""
        self._rest += piece
        if self.function is None:
            head = _HEAD.match(self._rest)
            if head is None:
                return ""
            self.function, self._rest = json.loads(head[1]), self._rest[head.end() :]
        arguments, self._rest = self._rest[:-1], self._rest[-1:]
        return arguments
