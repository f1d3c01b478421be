"""Training samples of masked diffusion: the hidden tokens, the answers that are wanted for them, and their weights.

LLaDA (arXiv 2502.09992): hide each token with probability t, weigh the loss 1/t. Dream (arXiv 2508.15487): the same
with the prediction for position i read at row i - 1. DreamOn (arXiv 2602.01326) adds hidden spans of variable length:
some neighbouring masks are merged into one whose answer is *expand*, and surplus masks are appended whose answer is
*delete*, the end-of-text token. A merged slot leaves the sequence physically, so that positions, attention and the
shift are what inference sees.

Three things differ from DreamOn's own training, because a model that starts from nothing must learn both text and
length from little. Where masks are missing, it is the last one of a run that answers *expand*, not any of them: the
others keep the meaning that plain masking taught them. A span that is masked whole gets a number of masks that says
nothing about its length, as at the beginning of decoding. And expand and delete weigh less than text, delete the least
(DreamOn weighs deletes down too): decoding commits the most confident prediction, one of the two is likely at every
uncertain length, and a model that does not know the text yet would alternate between two lengths before it writes a
word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from app.engine.canvas.special import SpecialIds
from app.engine.models.base import FamilyModel
from training.gaps import cursor, line_gap, word_gap

MIN_RATIO = 0.05
"""The bound in the weights 1 / max(t, MIN_RATIO); without it a handful of tokens would dominate a batch."""
MIN_SPAN_RATIO = 0.25
"""The bound for hidden spans, where the ratio is the hidden share of the whole sample."""
MAX_END_TOKENS = 12
MAX_DELETES = 16
EXPAND_WEIGHT, DELETE_WEIGHT = 0.4, 0.2
"""The weights of expand and delete.

A weight w turns a probability p into w p / (w p + 1 - p), so an even guess at the length ranks below a likely word.
"""
MAX_STARTING_MASKS = 32
MASKS_AHEAD = 8
"""The number of masks left at the end of a continuation from which on it asks for more."""
MIN_TAIL_TOKENS, MAX_TAIL_TOKENS = 8, 96
MIN_STAMMER_TOKENS, MAX_STAMMER_TOKENS, MAX_STAMMERS = 2, 32, 3
"""The size of a run that a stammer says again, and how often it does so at most."""

Chance = np.random.Generator
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The wanted token at one masked position of a sample, with its weight in the loss."""

    position: int
    token: int
    weight: float


@dataclass(frozen=True, slots=True)
class Sample:
    """The ids of one sample, and the answers at its masked positions."""

    ids: list[int]
    answers: list[Answer]


@dataclass(frozen=True, slots=True)
class Language:
    """The language of the texts: how they become tokens, and where they are cut."""

    tokenizer: Tokenizer
    special: SpecialIds
    is_code: bool

    @property
    def beginning(self) -> list[int]:
        return [] if self.special.bos is None else [self.special.bos]

    def ending(self, chance: Chance) -> list[int]:
        """The ids behind a suffix: DreamOn's prompts always end with end-of-text, LLaDA's may or may not."""
        return [self.special.eos] if self.special.expand is not None or chance.random() < 0.5 else []

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def cut(self, ids: Sequence[int], chance: Chance) -> tuple[list[int], list[int], list[int]]:
        """The prefix, middle and suffix of a text, each tokenized separately."""
        text = self.decode(ids)
        choose = line_gap if self.is_code and chance.random() < 0.7 else word_gap
        start, end = choose(text, chance)
        return self.encode(text[:start]), self.encode(text[start:end]), self.encode(text[end:])


def scattered(document: Sequence[int], t: float, language: Language, chance: Chance) -> Sample:
    """Hides each token of the whole text with probability t; ends of text behind it are hidden like text."""
    ends = int(chance.integers(0, MAX_END_TOKENS + 1))
    text = list(document) + [language.special.eos] * ends
    hidden = chance.random(len(text)) < t
    sample = _hide(language.beginning, text, hidden, [], language.special)
    return _weighed(sample, 1 / max(t, MIN_RATIO))


def gap(document: Sequence[int], t: float, language: Language, chance: Chance) -> Sample:
    """Hides tokens of one span only, whose length is right: infilling as LLaDA does it."""
    prefix, middle, suffix = language.cut(document, chance)
    hidden = chance.random(len(middle)) < _often_full(t, chance)
    after = suffix + language.ending(chance)
    return _weighed_by_share(_hide(language.beginning + prefix, middle, hidden, after, language.special))


def tail(document: Sequence[int], t: float, language: Language, chance: Chance) -> Sample:
    """Hides a piece of the text after a cursor; nothing follows it but ends of text, if the text ends in it."""
    prefix, rest = _at_cursor(document, language, chance)
    size = int(chance.integers(MIN_TAIL_TOKENS, MAX_TAIL_TOKENS + 1))
    if len(rest) <= size:
        rest = rest + [language.special.eos] * int(chance.integers(0, 2 * MAX_END_TOKENS + 1))
    else:
        rest = rest[:size]
    hidden = chance.random(len(rest)) < _often_full(t, chance)
    return _weighed_by_share(_hide(language.beginning + prefix, rest, hidden, [], language.special))


def lines(document: Sequence[int], t: float, language: Language, chance: Chance) -> Sample:
    """Hides tokens of several whole lines, whose lengths are right."""
    return _join(_some_lines(document, language, chance), language, lambda line: _plain_slots(line, t, chance))


def variable_lines(document: Sequence[int], t: float, language: Language, chance: Chance) -> Sample:
    """DreamOn's objective for several whole lines at once, whose lengths the model must find."""
    return _join(_some_lines(document, language, chance), language, lambda line: variable_slots(line, t, chance))


def variable_gap(document: Sequence[int], t: float, language: Language, chance: Chance) -> Sample:
    """DreamOn's objective: one span hidden behind a canvas that is too small, right or too large."""
    prefix, middle, suffix = language.cut(document, chance)
    pieces = [Piece(prefix), Piece(middle, is_gap=True), Piece(suffix + language.ending(chance))]
    return _join(pieces, language, lambda gap: variable_slots(gap, t, chance))


def variable_tail(document: Sequence[int], t: float, language: Language, chance: Chance) -> Sample:
    """DreamOn's objective for the whole text from a cursor on, so that a continuation grows to its own end."""
    prefix, rest = _at_cursor(document, language, chance)
    return _join([Piece(prefix), Piece(rest, is_gap=True)], language, lambda gap: tail_slots(gap, t, chance))


def stammering_variable_tail(document: Sequence[int], t: float, language: Language, chance: Chance) -> Sample:
    """`variable_tail` behind a beginning that says its last words again and again, and still goes on as it should.

    What a model writes becomes what it reads next, and no text of the corpus goes round in circles: once it has
    repeated itself, going on so looks likely.
    """
    prefix, rest = _at_cursor(document, language, chance)
    pieces = [Piece(stammered(prefix, chance)), Piece(rest, is_gap=True)]
    return _join(pieces, language, lambda gap: tail_slots(gap, t, chance))


def stammered(prefix: list[int], chance: Chance) -> list[int]:
    """The ids, the last of which are written over with those just before them, once or several times.

    The run's size is drawn on a logarithmic scale.
    """
    size: int = round(np.exp(chance.uniform(np.log(MIN_STAMMER_TOKENS), np.log(MAX_STAMMER_TOKENS))))
    times = min(int(chance.integers(1, MAX_STAMMERS + 1)), len(prefix) // size - 1)
    if times < 1:
        return prefix
    end = len(prefix) - times * size
    return prefix[:end] + prefix[end - size : end] * times


Objective = Callable[[Sequence[int], float, Language, Chance], Sample]
OBJECTIVES: dict[str, Objective] = {
    "scattered": scattered,
    "gap": gap,
    "lines": lines,
    "tail": tail,
    "variable_gap": variable_gap,
    "variable_lines": variable_lines,
    "variable_tail": variable_tail,
    "stammering_variable_tail": stammering_variable_tail,
}


def _often_full(t: float, chance: Chance) -> float:
    """The masking ratio: 1 for a third of the samples, since decoding begins with a span that is all masks, else t."""
    return 1.0 if chance.random() < 1 / 3 else t


def _at_cursor(document: Sequence[int], language: Language, chance: Chance) -> tuple[list[int], list[int]]:
    text = language.decode(document)
    place = cursor(text, chance)
    return language.encode(text[:place]), language.encode(text[place:])


def _hide(
    before: list[int], text: list[int], hidden: Sequence[bool] | Mask, after: list[int], special: SpecialIds
) -> Sample:
    shown = [special.mask if is_hidden else token for token, is_hidden in zip(text, hidden, strict=True)]
    answers = [Answer(len(before) + i, text[i], 1.0) for i, is_hidden in enumerate(hidden) if is_hidden]
    return Sample(before + shown + after, _ends_count_once(answers, special.eos))


def _weighed(sample: Sample, weight: float) -> Sample:
    return Sample(sample.ids, [replace(answer, weight=answer.weight * weight) for answer in sample.answers])


def _weighed_by_share(sample: Sample) -> Sample:
    return _weighed(sample, 1 / max(len(sample.answers) / len(sample.ids), MIN_SPAN_RATIO))


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a sample, which is given or a gap."""

    ids: list[int]
    is_gap: bool = False


Slot = tuple[int, int, bool]
"""The half-open range of a gap's tokens that one position of the canvas stands for, and whether it is masked."""


def _some_lines(document: Sequence[int], language: Language, chance: Chance) -> list[Piece]:
    """The document in pieces; a share of the lines after the first, at least one, are gaps without their newline."""
    [newline] = language.encode("\n")
    starts = [i + 1 for i, token in enumerate(document) if token == newline and i + 1 < len(document)]
    full = [start for start in starts if document[start] != newline]
    if not full:
        prefix, middle, suffix = language.cut(document, chance)
        return [Piece(prefix), Piece(middle, is_gap=True), Piece(suffix + language.ending(chance))]
    share = chance.uniform(0.05, 0.4)
    chosen = {start for start in full if chance.random() < share} or {full[int(chance.integers(len(full)))]}
    pieces, end = [], 0
    for start in sorted(chosen):
        pieces.append(Piece(list(document[end:start])))
        end = next((i for i in range(start, len(document)) if document[i] == newline), len(document))
        pieces.append(Piece(list(document[start:end]), is_gap=True))
    return [*pieces, Piece(list(document[end:]) + language.ending(chance))]


def _join(pieces: Sequence[Piece], language: Language, cover: Callable[[list[int]], list[Slot]]) -> Sample:
    """The sample made of all pieces, with the gaps covered by slots."""
    ids, answers = list(language.beginning), []
    for piece in pieces:
        slots = cover(piece.ids) if piece.is_gap else [(i, i + 1, False) for i in range(len(piece.ids))]
        for start, end, is_masked in slots:
            if is_masked:
                token = slot_answer(piece.ids, start, end, language.special)
                weight = EXPAND_WEIGHT if end - start > 1 else DELETE_WEIGHT if start == len(piece.ids) else 1.0
                answers.append(Answer(len(ids), token, weight))
            ids.append(language.special.mask if is_masked else piece.ids[start])
    return _weighed_by_share(Sample(ids, answers))


def _plain_slots(gap: list[int], t: float, chance: Chance) -> list[Slot]:
    hidden = chance.random(len(gap)) < _often_full(t, chance)
    return [(i, i + 1, bool(is_hidden)) for i, is_hidden in enumerate(hidden)]


def variable_slots(gap: Sequence[int], t: float, chance: Chance) -> list[Slot]:
    """A canvas for the gap as it occurs in decoding: at the beginning, or with some tokens already written."""
    size = len(gap)
    if chance.random() < 0.5:
        masks = size if chance.random() < 0.3 else starting_masks(chance)
        return _run(0, size, masks) + [(size, size + 1, True)] * max(masks - size, 0)
    hidden = chance.random(size) < t
    slots: list[Slot] = []
    position = 0
    while position < size:
        end = next((i for i in range(position, size) if hidden[i] != hidden[position]), size)
        if hidden[position]:
            keeps_all = end - position == 1 or chance.random() < 0.6
            masks = end - position if keeps_all else int(chance.integers(1, end - position))
            slots += _run(position, end, masks)
        else:
            slots += [(i, i + 1, False) for i in range(position, end)]
        position = end
    extra = surplus(chance)
    # Behind a mask that asks for more room there cannot be surplus masks.
    asks_for_room = bool(slots) and slots[-1][1] - slots[-1][0] > 1
    return slots if asks_for_room else slots + [(size, size + 1, True)] * extra


def tail_slots(rest: Sequence[int], t: float, chance: Chance) -> list[Slot]:
    """A canvas that is written from left to right, and asks for more room only when few masks are left at its end.

    If every long text asked for room at once, decoding would grow an empty canvas to its limit before it writes the
    first word.
    """
    size = min(int(chance.integers(1, MAX_TAIL_TOKENS + 1)), len(rest))
    hidden = chance.random(size) < _often_full(t, chance)
    slots = [(i, i + 1, bool(is_hidden)) for i, is_hidden in enumerate(hidden)]
    if size == len(rest):
        return slots + [(size, size + 1, True)] * surplus(chance)
    masks_at_end = next((i for i in range(size) if not hidden[size - 1 - i]), size)
    if masks_at_end == 0:
        return [*slots, (size, len(rest), True)]
    if masks_at_end <= MASKS_AHEAD:
        return [*slots[:-1], (size - 1, len(rest), True)]
    return slots


def _run(start: int, end: int, masks: int) -> list[Slot]:
    """The slots of `masks` masks for the tokens [start, end); the last one stands for all tokens that are left."""
    if masks >= end - start:
        return [(i, i + 1, True) for i in range(start, end)]
    singles = [(i, i + 1, True) for i in range(start, start + masks - 1)]
    return [*singles, (start + masks - 1, end, True)]


def starting_masks(chance: Chance) -> int:
    """The size of a starting canvas, drawn evenly on a logarithmic scale."""
    return int(np.exp(chance.uniform(0, np.log(MAX_STARTING_MASKS + 1))))


def surplus(chance: Chance) -> int:
    """The number of surplus masks: none in half of the samples, and few more often than many."""
    return int(np.exp(chance.uniform(0, np.log(MAX_DELETES + 1)))) if chance.random() < 0.5 else 0


def slot_answer(middle: Sequence[int], start: int, end: int, special: SpecialIds) -> int:
    """The answer of a slot: expand if it stands for several tokens, delete behind the middle, else its token."""
    if end - start > 1:
        assert special.expand is not None, "variable objectives need a checkpoint with an expand token"
        return special.expand
    return middle[start] if start < len(middle) else special.eos


def _ends_count_once(answers: list[Answer], eos: int) -> list[Answer]:
    """The answers, in which all ends of text of a sample together weigh as one token.

    End of text is one token against thousands of words: if each counted, it would be the likeliest guess nearly
    everywhere, and decoding by confidence would write nothing else. Deletes differ: each has its own, small weight, or
    the model would only learn to grow (DreamOn, fine-tuned from a model that knows text, counts all deletes of a batch
    as one).
    """
    count = sum(answer.token == eos for answer in answers)
    return [replace(a, weight=a.weight / count) if a.token == eos else a for a in answers]


@dataclass(frozen=True, slots=True)
class Batch:
    """The samples of a batch laid end to end: N tokens in total, with R masked positions."""

    ids: Tensor
    positions: Tensor
    lengths: list[int]
    rows: Tensor
    """The rows [R] where the prediction of a masked position is read: the position itself, or its left neighbour."""
    targets: Tensor
    weights: Tensor


def collate(samples: Sequence[Sample], shift: int) -> Batch:
    """The samples as a batch, sorted by length, so that equal lengths share one attention call."""
    ordered = sorted(samples, key=lambda sample: len(sample.ids))
    lengths = [len(sample.ids) for sample in ordered]
    starts = np.cumsum([0, *lengths[:-1]])
    answers = [(start, answer) for start, sample in zip(starts, ordered, strict=True) for answer in sample.answers]
    return Batch(
        ids=torch.tensor([token for sample in ordered for token in sample.ids]),
        positions=torch.cat([torch.arange(length) for length in lengths]),
        lengths=lengths,
        rows=torch.tensor([int(start) + max(answer.position - shift, 0) for start, answer in answers]),
        targets=torch.tensor([answer.token for _, answer in answers]),
        weights=torch.tensor([answer.weight for _, answer in answers]),
    )


def batch_loss(model: FamilyModel, batch: Batch) -> Tensor:
    """The weighted mean of the cross-entropy at masked positions."""
    return summed_loss(model, batch) / batch.weights.sum()


def summed_loss(model: FamilyModel, batch: Batch) -> Tensor:
    """The weighted sum of the cross-entropy at masked positions; logits are computed nowhere else."""
    states = model.hidden(batch.ids, batch.positions, batch.lengths)
    losses = F.cross_entropy(model.head(states[batch.rows]).float(), batch.targets, reduction="none")
    return (losses * batch.weights).sum()
