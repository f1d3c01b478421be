"""A text with holes as canvases that the engine reads, and what it read as the answer.

All holes without choices, and all whose choices are one token, are read on one canvas. A choice of several tokens has
canvases of its own, on which its hole has as many masks as it has tokens: it is scored from left to right, with its
beginning committed. All canvases are known before the first pass, so they share it. "The sky is [M]." where one choice
is the tokens 7 8:

    The sky is M .          for choices of one token
    The sky is M M .        log p(7)
    The sky is 7 M .        log p(8)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from app.engine.interface.events import CanvasesRead, PositionRead
from app.engine.interface.params import ReadCanvas
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.families.base import TextFamily
from app.services.diffusion.native.engine_events import named_token
from app.services.diffusion.reading import DEFAULT_TOP, DiffusionReadParams, ReadPart
from app.text.tokenizer import Tokenizer

MAX_TOKENS = 65_536
"""Tokens of all canvases of a request, unless there is one alone."""

Ids = tuple[int, ...]
Place = tuple[int, int]
"""The number of a canvas, and a position on it."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A hole, in tokens."""

    name: str
    piece: int
    """The piece of the text that it is."""
    num_masks: int
    """Its masks while other holes are read."""
    choices: tuple[tuple[str, Ids], ...]

    @property
    def is_marginal(self) -> bool:
        """Whether one position of one canvas says all."""
        return self.num_masks == 1 and all(len(ids) == 1 for _, ids in self.choices)


@dataclass(slots=True)
class Reading:
    """The canvases of one request.

    Attributes:
        pieces: ids of the text's pieces; those of holes are masks.
        num_left_out: tokens of the given text that did not fit the context.
    """

    pieces: list[Ids]
    holes: tuple[Hole, ...]
    mask_id: int
    num_top: int
    num_left_out: int = 0
    max_pass_tokens: ClassVar[int] = 2048
    _canvases: list[Ids] = field(default_factory=list)
    _numbers: dict[tuple[int, Ids], int] = field(default_factory=dict)
    """The number of each canvas but the first, by the piece that is another one there and its ids."""
    _wanted: list[dict[int, dict[int, int]]] = field(default_factory=list)
    """For each canvas the positions that are read, and for each of them the scored ids with their rank."""

    def __post_init__(self) -> None:
        self._add(_flat(self.pieces))
        for hole in self.holes:
            for step in range(0 if hole.choices else hole.num_masks):
                self._wanted[0].setdefault(self._start(hole) + step, {})
            for _, ids in hole.choices:
                for step in range(len(ids)):
                    self._want(self._place(hole, ids, step), ids[step])

    @property
    def num_given(self) -> int:
        """Tokens of the given text, with those that were left out."""
        holes = {hole.piece for hole in self.holes}
        return self.num_left_out + sum(len(ids) for index, ids in enumerate(self.pieces) if index not in holes)

    @property
    def canvases(self) -> tuple[ReadCanvas, ...]:
        """The canvases on which something is read, each once."""
        return tuple(
            ReadCanvas(ids, tuple(wanted), tuple(map(tuple, wanted.values())))
            for ids, wanted in zip(self._canvases, self._wanted, strict=True)
            if wanted
        )

    def answer(self, read: CanvasesRead, tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
        """The answer of each hole, by name; log-probabilities are natural."""
        places = ((number, position) for number, wanted in enumerate(self._wanted) for position in wanted)
        found = dict(zip(places, read.positions, strict=True))
        return {hole.name: self._answer_of(hole, found, tokenizer) for hole in self.holes}

    def _answer_of(self, hole: Hole, found: Mapping[Place, PositionRead], tokenizer: Tokenizer) -> dict[str, Any]:
        common = {"masks": hole.num_masks, "method": "marginal" if hole.is_marginal else "left_to_right"}
        if not hole.choices:
            rows = [found[0, self._start(hole) + step].top[: self.num_top] for step in range(hole.num_masks)]
            tokens = [[named_token(tokenizer, token_id, logprob) for token_id, logprob in row] for row in rows]
            return {**common, "method": "marginal", "tokens": tokens}
        logprobs = [self._logprob(hole, ids, found) for _, ids in hole.choices]
        choices = [
            {"text": text, "logprob": logprob, "tokens": len(ids)}
            for (text, ids), logprob in zip(hole.choices, logprobs, strict=True)
        ]
        return {**common, "choices": choices, "log_mass": _log_mass(hole, logprobs)}

    def _logprob(self, hole: Hole, ids: Ids, found: Mapping[Place, PositionRead]) -> float:
        total = 0.0
        for step, token_id in enumerate(ids):
            number, position = self._place(hole, ids, step)
            total += found[number, position].scored[self._wanted[number][position][token_id]]
        return total

    def _place(self, hole: Hole, ids: Ids, step: int) -> Place:
        """The place where token `step` of a choice is read: what is before it is committed."""
        position = self._start(hole) + step
        if step == 0 and len(ids) == hole.num_masks:
            return 0, position
        written = (*ids[:step], *(self.mask_id,) * (len(ids) - step))
        number = self._numbers.get((hole.piece, written))
        if number is None:
            whole = (*_flat(self.pieces[: hole.piece]), *written, *_flat(self.pieces[hole.piece + 1 :]))
            number = self._numbers[hole.piece, written] = self._add(whole)
        return number, position

    def _add(self, ids: Ids) -> int:
        if self._canvases and sum(map(len, self._canvases)) + len(ids) > MAX_TOKENS:
            raise InvalidParameters(
                f"choices of several tokens need a canvas for each token, and these come to more than {MAX_TOKENS} "
                "tokens together; give fewer or shorter choices, or a shorter text",
                field="parts",
            )
        self._canvases.append(ids)
        self._wanted.append({})
        return len(self._canvases) - 1

    def _start(self, hole: Hole) -> int:
        return sum(map(len, self.pieces[: hole.piece]))

    def _want(self, place: Place, token_id: int) -> None:
        number, position = place
        scored = self._wanted[number].setdefault(position, {})
        scored.setdefault(token_id, len(scored))


def reading_of(
    params: DiffusionReadParams, family: TextFamily, tokenizer: Tokenizer, mask_id: int, context_length: int
) -> Reading:
    """The text of a request as the family was trained to see it. Of one that is longer than the context the parts that
    are farthest from the holes are left out.

    Raises:
        InvalidParameters: the text from the first hole to the last is longer than that, or choices are too many.
        TextError: a text is not valid Unicode.
    """
    holes = tuple(_hole(part, index, tokenizer) for index, part in enumerate(params.parts) if part.hole is not None)
    of_holes = {hole.piece: (mask_id,) * hole.num_masks for hole in holes}
    pieces = [
        of_holes[index] if index in of_holes else tuple(tokenizer.encode(part.text or ""))
        for index, part in enumerate(params.parts)
    ]
    if family.always_begins or tokenizer.adds_bos:
        pieces, holes = [(tokenizer.require("bos"),), *pieces], tuple(_moved(hole) for hole in holes)
    if holes[-1].piece < len(pieces) - 1 and family.ends_infillings:
        pieces[-1] = (*pieces[-1], tokenizer.require("eos"))
    num_left_out = _fit(pieces, holes, context_length)
    return Reading(pieces, holes, mask_id, params.top or DEFAULT_TOP, num_left_out)


def _hole(part: ReadPart, index: int, tokenizer: Tokenizer) -> Hole:
    choices = tuple((text, tuple(tokenizer.encode(text))) for text in part.choices or ())
    longest = max((len(ids) for _, ids in choices), default=1)
    return Hole(part.hole or "", index, part.masks or longest, choices)


def _moved(hole: Hole) -> Hole:
    return Hole(hole.name, hole.piece + 1, hole.num_masks, hole.choices)


def _fit(pieces: list[Ids], holes: Sequence[Hole], context_length: int) -> int:
    """Shortens the text before the first hole and behind the last; gives the number of tokens that were left out.

    A context of 10, 9 tokens before, 4 for the holes and what is between them, 5 behind: 3 stay on each side.
    """
    first, last = holes[0].piece, holes[-1].piece
    spare = max((len(ids) - hole.num_masks for hole in holes for _, ids in hole.choices), default=0)
    core = sum(map(len, pieces[first : last + 1])) + max(spare, 0)
    room = context_length - core
    if room < 0:
        raise InvalidParameters(
            f"parts has {core} tokens from the first hole to the last, and the model sees {context_length}; "
            "ask in several requests",
            field="parts",
        )
    before, behind = _flat(pieces[:first]), _flat(pieces[last + 1 :])
    num_behind = min(len(behind), max(room // 2, room - len(before)))
    num_before = min(len(before), room - num_behind)
    _replace(pieces, range(last + 1, len(pieces)), behind[:num_behind])
    _replace(pieces, range(first), before[len(before) - num_before :])
    return len(before) - num_before + len(behind) - num_behind


def _replace(pieces: list[Ids], indices: range, ids: Ids) -> None:
    for index in indices:
        pieces[index] = ids if index == indices[0] else ()


def _flat(pieces: Sequence[Ids]) -> Ids:
    return tuple(token_id for piece in pieces for token_id in piece)


def _log_mass(hole: Hole, logprobs: Sequence[float]) -> float | None:
    """The logarithm of the probability that all choices hold together. Choices of different numbers of tokens are read
    on canvases of different lengths, so they share no distribution: `None`."""
    if len({len(ids) for _, ids in hole.choices}) > 1:
        return None
    distinct = dict(zip((ids for _, ids in hole.choices), logprobs, strict=True)).values()
    greatest = max(distinct)
    return min(greatest + math.log(math.fsum(math.exp(logprob - greatest) for logprob in distinct)), 0.0)
