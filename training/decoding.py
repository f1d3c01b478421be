"""Plain decoding for evaluation and for the samples in the log, one token per forward pass.

The code is simple and independent of the engine, so that an error in one shows against the other. A decoding is a
generator: it asks for predictions with a `Query`, receives logits [R, V], and returns a `Text`. The same few lines thus
serve one canvas, or hundreds in lockstep whose queries share packed forward passes (`decode_all`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from app.engine.canvas.special import SpecialIds
from app.engine.models.base import FamilyModel

BATCH_TOKENS = 4096
"""The largest number of tokens in a packed forward pass, unless one canvas alone is longer."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The parameters for drawing a token at a position; temperature 0 takes the best one."""

    temperature: float = 0.0
    top_k: int = 50
    seed: int = 0


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Query:
    """A canvas of a forward pass, and the positions whose predictions are wanted."""

    canvas: list[int]
    positions: list[int]


@dataclass(frozen=True, slots=True)
class Text:
    """The new ids of a decoding."""

    ids: list[int]
    ended: bool = False
    """Whether the model ended the text: it predicted the end of the text, or deleted the last position."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of a decoding, and its cost."""

    text: Text
    num_passes: int
    """The number of forward passes that this canvas took part in (NFE)."""


Decoding = Generator[Query, Tensor, Text]


def filling(canvas: list[int], special: SpecialIds, sampling: Sampling, forbidden: tuple[int, ...] = ()) -> Decoding:
    """Fills all masks, the most confident first; the length stays, and neither mask nor expand is ever chosen."""
    canvas = list(canvas)
    generator = torch.Generator().manual_seed(sampling.seed)
    while masked := _positions_of(special.mask, canvas):
        logits = yield Query(list(canvas), masked)
        _forbid(logits, special.mask, special.expand, *forbidden)
        index, token = _most_confident(logits, sampling, generator)
        canvas[masked[index]] = token
    return Text(canvas)


def block_filling(prompt: list[int], num_tokens: int, block: int, special: SpecialIds, sampling: Sampling) -> Decoding:
    """Continues block by block, as LLaDA does, and stops behind the block that ends the text; gives the new tokens."""
    canvas = list(prompt)
    for start in range(0, num_tokens, block):
        masks = [special.mask] * min(block, num_tokens - start)
        filled = yield from filling(canvas + masks, special, replace(sampling, seed=sampling.seed + start))
        canvas = filled.ids
        if special.eos in canvas[len(prompt) :]:
            new = canvas[len(prompt) :]
            return Text(new[: new.index(special.eos)], ended=True)
    return Text(canvas[len(prompt) :])


def variable_filling(
    prefix: list[int],
    num_masks: int,
    suffix: list[int],
    special: SpecialIds,
    max_length: int = 64,
    sampling: Sampling = GREEDY,
) -> Decoding:
    """Fills a gap as DreamOn does: expand makes two masks of one, delete removes one; gives the middle.

    There are at most 2 * `max_length` expansions, and none while the middle is `max_length` long. Every pass writes,
    deletes or expands, so there are at most `num_masks` + 4 * `max_length` passes.
    """
    assert special.expand is not None, "only checkpoints with an expand token have a variable length"
    generator = torch.Generator().manual_seed(sampling.seed)
    middle, budget, ended = [special.mask] * num_masks, 2 * max_length, False
    while masked := _positions_of(special.mask, middle):
        logits = yield Query([*prefix, *middle, *suffix], [len(prefix) + i for i in masked])
        no_growth = len(middle) >= max_length or budget == 0
        _forbid(logits, special.mask, special.expand if no_growth else None)
        index, token = _most_confident(logits, sampling, generator)
        position = masked[index]
        if token == special.eos:
            ended |= position == len(middle) - 1
            del middle[position]
        elif token == special.expand:
            middle[position : position + 1] = [special.mask] * 2
            budget -= 1
        else:
            middle[position] = token
    return Text(middle, ended)


def growing(prompt: list[int], num_tokens: int, num_masks: int, special: SpecialIds, sampling: Sampling) -> Decoding:
    """Continues as DreamOn does: spans of variable length follow each other until one has its last position deleted."""
    new: list[int] = []
    while len(new) < num_tokens:
        left = num_tokens - len(new)
        seeded = replace(sampling, seed=sampling.seed + len(new))
        span = yield from variable_filling([*prompt, *new], min(num_masks, left), [], special, left, seeded)
        new += span.ids
        if span.ended or not span.ids:
            return Text(new, span.ended)
    return Text(new)


def decode_all(model: FamilyModel, decodings: Iterable[Decoding], batch_tokens: int = BATCH_TOKENS) -> list[Decoded]:
    """Runs all decodings in lockstep: in each step, packed forward passes of at most `batch_tokens`.

    A canvas attends to itself only and draws from its own generator: its text does not depend on the others, up to the
    rounding of a differently shaped matrix product where two predictions have nearly equal confidence.
    """
    runs = [_Run(decoding) for decoding in decodings]
    while waiting := [run for run in runs if run.query is not None]:
        for batch in _batches(waiting, batch_tokens):
            queries = [run.query for run in batch if run.query is not None]
            for run, logits in zip(batch, predictions(model, queries), strict=True):
                run.advance(logits)
    return [run.decoded for run in runs]


class _Run:
    """A decoding in progress, with its next query or its text."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._text: Text | None = None
        self._num_passes = 0
        self.query: Query | None = None
        try:
            self.query = next(decoding)
        except StopIteration as stop:
            self._text = stop.value

    @property
    def decoded(self) -> Decoded:
        assert self._text is not None, "a decoding has no text before its end"
        return Decoded(self._text, self._num_passes)

    def advance(self, logits: Tensor) -> None:
        self._num_passes += 1
        try:
            self.query = self._decoding.send(logits)
        except StopIteration as stop:
            self.query, self._text = None, stop.value


def _batches(runs: list[_Run], batch_tokens: int) -> Iterator[list[_Run]]:
    """The runs in batches, the longest canvases first, so that equal lengths share an attention call."""
    sizes = {id(run): len(run.query.canvas) if run.query else 0 for run in runs}
    batch: list[_Run] = []
    total = 0
    for run in sorted(runs, key=lambda run: -sizes[id(run)]):
        if batch and total + sizes[id(run)] > batch_tokens:
            yield batch
            batch, total = [], 0
        batch.append(run)
        total += sizes[id(run)]
    yield batch


@torch.no_grad()
def predictions(model: FamilyModel, queries: Sequence[Query]) -> list[Tensor]:
    """The logits [R, V] *for* each query's positions, whatever the family's shift, from one packed forward pass."""
    lengths = [len(query.canvas) for query in queries]
    positions = torch.cat([torch.arange(length) for length in lengths])
    states = model.hidden(torch.tensor([token for query in queries for token in query.canvas]), positions, lengths)
    rows, start = [], 0
    for query in queries:
        rows += [start + max(position - model.config.prediction_shift, 0) for position in query.positions]
        start += len(query.canvas)
    logits = model.head(states[torch.tensor(rows)]).float()
    return list(torch.split(logits, [len(query.positions) for query in queries]))


def fill(
    model: FamilyModel, canvas: list[int], sampling: Sampling = GREEDY, forbidden: tuple[int, ...] = ()
) -> list[int]:
    """The ids from `filling` one canvas."""
    return _alone(model, filling(canvas, model.config.special, sampling, forbidden))


def fill_blocks(
    model: FamilyModel, prompt: list[int], num_tokens: int, block: int, sampling: Sampling = GREEDY
) -> list[int]:
    """The ids from `block_filling` one prompt."""
    return _alone(model, block_filling(prompt, num_tokens, block, model.config.special, sampling))


def fill_variable(
    model: FamilyModel, prefix: list[int], num_masks: int, suffix: list[int], max_length: int = 64
) -> list[int]:
    """The ids from `variable_filling` one gap."""
    return _alone(model, variable_filling(prefix, num_masks, suffix, model.config.special, max_length))


def _alone(model: FamilyModel, decoding: Decoding) -> list[int]:
    [decoded] = decode_all(model, [decoding])
    return decoded.text.ids


def _positions_of(token_id: int, canvas: list[int]) -> list[int]:
    return [i for i, token in enumerate(canvas) if token == token_id]


def _forbid(logits: Tensor, *token_ids: int | None) -> None:
    for token_id in token_ids:
        if token_id is not None:
            logits[:, token_id] = -torch.inf


def _most_confident(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> tuple[int, int]:
    """The row and token to commit: the row whose chosen token has the highest probability."""
    if sampling.temperature == 0:
        confidence, tokens = logits.softmax(-1).max(-1)
    else:
        least = logits.topk(min(sampling.top_k, logits.shape[-1])).values[:, -1:]
        scaled = logits.masked_fill(logits < least, -torch.inf) / sampling.temperature
        probabilities = scaled.softmax(-1)
        tokens = torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
        confidence = probabilities.gather(1, tokens[:, None]).squeeze(1)
    row = int(confidence.argmax())
    return row, int(tokens[row])
