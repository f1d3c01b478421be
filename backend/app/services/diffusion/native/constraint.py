"""The constraint of a request as an automaton over the tokens of one checkpoint."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.constraint.footprint import most_bytes
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

_AUTOMATA: WeakKeyDictionary[CompiledConstraint, TokenAutomaton] = WeakKeyDictionary()
"""The automata of the constraints that are cached, for all checkpoints with the vocabulary of one."""
_LOCK = Lock()  # of the automata


def _automaton_of(compiled: CompiledConstraint) -> TokenAutomaton:
    with _LOCK:
        if compiled not in _AUTOMATA:
            columns = (compiled.sources, compiled.labels, compiled.targets)
            automaton = TokenAutomaton(compiled.classes, *columns, compiled.accepting)
            _ = automaton.distances  # they take a while, and the engine asks for them
            _AUTOMATA[compiled] = automaton
        return _AUTOMATA[compiled]


def _bytes_held(compiled: CompiledConstraint) -> int:
    """Gives the most bytes that a constraint holds while it is cached: most of them are its automaton's."""
    return compiled.nbytes + most_bytes(_automaton_of(compiled))


_CACHE = ConstraintCache(size_of=_bytes_held)
WORKERS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="constraint")
"""Threads that compile and prepare. Few: the event loop and the engine want the interpreter too."""


class Constraints:
    """Compiles constraints for one checkpoint."""

    def __init__(self, tokenizer: Tokenizer, config: ModelConfig) -> None:
        self._tokenizer = tokenizer
        self._config = config

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
        return _automaton_of(_CACHE.compiled(*_source(constraint), self._vocabulary))

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
