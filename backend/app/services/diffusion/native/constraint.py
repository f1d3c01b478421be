"""The constraint of a request as an automaton over the tokens of one checkpoint."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from app.engine.constraint.automaton import TokenAutomaton
from app.services.diffusion.constraint import Constraint
from app.services.diffusion.errors import InvalidParameters
from app.text.constraints.cache import ConstraintCache
from app.text.constraints.compile import Kind
from app.text.constraints.compiled import CompiledConstraint
from app.text.constraints.vocabulary import Vocabulary
from app.text.errors import ConstraintError
from app.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from app.engine.models.base import ModelConfig

_CACHE = ConstraintCache()
WORKERS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="constraint")
"""Threads that compile and prepare. Few: the event loop and the engine want the interpreter too."""


class Constraints:
    """Compiles constraints for one checkpoint, and keeps the automata of those that are cached."""

    def __init__(self, tokenizer: Tokenizer, config: ModelConfig) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._automata: WeakKeyDictionary[CompiledConstraint, TokenAutomaton] = WeakKeyDictionary()
        self._lock = Lock()

    async def automaton(self, constraint: Constraint) -> TokenAutomaton:
        """Gives the automaton, compiled in a thread of its own where it is not cached.

        Raises:
            InvalidParameters: the constraint asks for what is not honoured, or for what no text can be.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(WORKERS, self._compiled, constraint)
        except ConstraintError as error:
            field = f"constraint.{_source(constraint)[0]}"
            raise InvalidParameters(f"{field}: {error}", field=field) from error

    def _compiled(self, constraint: Constraint) -> TokenAutomaton:
        compiled = _CACHE.compiled(*_source(constraint), self._vocabulary)
        with self._lock:
            if compiled not in self._automata:
                automaton = TokenAutomaton(
                    compiled.classes, compiled.sources, compiled.labels, compiled.targets, compiled.accepting
                )
                _ = automaton.distances  # they take a while, and the engine asks for them
                self._automata[compiled] = automaton
            return self._automata[compiled]

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        """The tokens that may stand in text: none with a role, and none that the tokenizer does not have."""
        special, turn = self._config.special, self._tokenizer.end_of_turn_id
        roles = {special.mask, special.pad, special.bos, special.expand, turn, *special.ends, *special.unusable}
        ids = range(self._config.vocab_size)
        return Vocabulary([None if i in roles else self._tokenizer.bytes_of_text(i) for i in ids])


def _source(constraint: Constraint) -> tuple[Kind, Any]:
    if constraint.regex is not None:
        return "regex", constraint.regex
    if constraint.choices is not None:
        return "choices", constraint.choices
    return "json_schema", constraint.json_schema
