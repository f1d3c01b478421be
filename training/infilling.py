"""Scores single-line infilling on held-out functions: hide one whole line, let the model write it, compare."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from app.engine.models.base import FamilyModel
from training.baselines import LineLookup
from training.decoding import GREEDY, Decoded, Decoding, Text, decode_all, filling, variable_filling
from training.objectives import Language
from training.prepare import Corpus, unit_hash

MAX_FUNCTION_BYTES = 512
STARTING_MASKS = (4, 8, 16, 32)
MAX_LINE_TOKENS = 64
"""The length at which a canvas of variable length stops growing."""


@dataclass(frozen=True, slots=True)
class HiddenLine:
    """A function with one line removed; the newlines before and behind it stay."""

    prefix: str
    line: str
    suffix: str

    def completed(self, infill: str) -> str:
        return self.prefix + infill + self.suffix

    @property
    def without_line(self) -> str:
        return self.prefix + self.suffix.removeprefix("\n")


@dataclass(frozen=True, slots=True)
class Outcome:
    """An infill: its text, its length in tokens minus the true one, and its number of forward passes."""

    infill: str
    surplus: int
    num_passes: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A hidden line in tokens; the texts around it are tokenized separately, as at inference."""

    before: list[int]
    after: list[int]
    length: int


Canvas = Callable[[Gap], Decoding]
"""A way to decode a gap: the number of masks, and whether it may change."""


def hidden_lines(heldout: Corpus, language: Language, count: int) -> list[HiddenLine]:
    """The cases: a line each of `count` held-out functions, drawn by their hash, so every tokenizer gets the same."""
    texts = [language.decode(heldout[index].tolist()) for index in range(len(heldout))]
    short = [text for text in texts if len(text.encode()) <= MAX_FUNCTION_BYTES]
    return [hide_line(text) for text in sorted(short, key=unit_hash)[:count]]


def hide_line(text: str) -> HiddenLine:
    """The function with a line hidden that its hash draws, never the first."""
    candidates = [i for i in line_numbers(text) if i]
    return take_out(text, candidates[int(unit_hash("hidden" + text) * len(candidates))])


def line_numbers(text: str) -> list[int]:
    """The numbers, from 0, of the lines that are not blank."""
    return [i for i, line in enumerate(text.split("\n")) if line.strip()]


def take_out(text: str, number: int) -> HiddenLine:
    """The text with one line hidden; lines are counted from 0."""
    lines = text.removesuffix("\n").split("\n")
    prefix = "".join(f"{line}\n" for line in lines[:number])
    suffix = "".join(f"\n{line}" for line in lines[number + 1 :]) + "\n"
    return HiddenLine(prefix, lines[number], suffix)


def gap_of(case: HiddenLine, language: Language, context_length: int) -> Gap:
    """The case in tokens; a text that is too long for the context is cut at its end far from the gap."""
    before = language.encode(case.prefix)
    after = [*language.encode(case.suffix), language.special.eos]
    length = len(language.encode(case.line))
    room = context_length - len(language.beginning) - max(length, MAX_LINE_TOKENS)
    num_before = max(room - len(after), min(len(before), room // 2))
    before = before[max(len(before) - num_before, 0) :]
    return Gap(language.beginning + before, after[: room - len(before)], length)


def fixed(language: Language, num_masks: int | None) -> Canvas:
    """A canvas of `num_masks` masks, or of one for each token of the true line; end of text is never chosen."""
    special = language.special

    def decode(gap: Gap) -> Decoding:
        count = gap.length if num_masks is None else num_masks
        canvas = [*gap.before, *[special.mask] * count, *gap.after]
        filled = yield from filling(canvas, special, GREEDY, forbidden=(special.eos,))
        return Text(filled.ids[len(gap.before) : len(gap.before) + count])

    return decode


def variable(language: Language, num_masks: int) -> Canvas:
    """A canvas that begins with `num_masks` masks; the model expands and deletes."""
    return lambda gap: variable_filling(gap.before, num_masks, gap.after, language.special, MAX_LINE_TOKENS)


def infill(model: FamilyModel, language: Language, cases: list[HiddenLine], canvas: Canvas) -> list[Outcome]:
    """The greedy infills of all cases, decoded in lockstep."""
    gaps = [gap_of(case, language, model.config.context_length) for case in cases]
    decoded = decode_all(model, [canvas(gap) for gap in gaps])
    return [_outcome(language, gap, one) for gap, one in zip(gaps, decoded, strict=True)]


def _outcome(language: Language, gap: Gap, decoded: Decoded) -> Outcome:
    ids = decoded.text.ids
    return Outcome(language.decode(ids), len(ids) - gap.length, decoded.num_passes)


def score_infilling(model: FamilyModel, language: Language, cases: list[HiddenLine]) -> dict[str, Any]:
    """The scores at the oracle length, at fixed lengths, and with variable length from the same numbers of masks."""
    canvases = {"oracle_length": fixed(language, None)}
    for masks in STARTING_MASKS:
        canvases[f"fixed_{masks}_masks"] = fixed(language, masks)
        canvases[f"variable_from_{masks}_masks"] = variable(language, masks)
    return {name: line_scores(cases, infill(model, language, cases, canvas)) for name, canvas in canvases.items()}


def score_baselines(cases: list[HiddenLine], lookup: LineLookup) -> dict[str, Any]:
    guesses = looked_up(cases, lookup)
    pairs = list(zip(guesses, cases, strict=True))
    return {
        "lookup_exact_match": share([guess.strip() == case.line.strip() for guess, case in pairs]),
        "lookup_edit_similarity": _mean([similarity(guess, case.line) for guess, case in pairs], 4),
        "lookup_parses": share([parses(case.completed(guess)) for guess, case in pairs]),
        "deleting_the_line_parses": share([parses(case.without_line) for case in cases]),
    }


def looked_up(cases: list[HiddenLine], lookup: LineLookup) -> list[str]:
    """The baseline's answer to each case, from the lines around the gap."""
    return [lookup.predict(_last_line(case.prefix), _first_line(case.suffix)) for case in cases]


def _last_line(prefix: str) -> str:
    return prefix.removesuffix("\n").rpartition("\n")[2]


def _first_line(suffix: str) -> str:
    return suffix.removeprefix("\n").partition("\n")[0]


def line_scores(cases: list[HiddenLine], outcomes: list[Outcome]) -> dict[str, float]:
    pairs = list(zip(cases, outcomes, strict=True))
    return {
        "exact_match": share([case.line.strip() == o.infill.strip() for case, o in pairs]),
        "edit_similarity": _mean([similarity(o.infill, case.line) for case, o in pairs], 4),
        "parses": share([bool(o.infill.strip()) and parses(case.completed(o.infill)) for case, o in pairs]),
        "empty": share([not o.infill.strip() for _, o in pairs]),
        "mean_length_error": _mean([abs(o.surplus) for o in outcomes], 2),
        "mean_forward_passes": _mean([o.num_passes for o in outcomes], 2),
    }


def similarity(guess: str, truth: str) -> float:
    """The edit similarity of two lines without the white space around them, 0 to 1."""
    return SequenceMatcher(None, truth.strip(), guess.strip()).ratio()


def share(truths: list[bool]) -> float:
    return _mean(truths, 4)


def _mean(values: list[float] | list[int] | list[bool], digits: int) -> float:
    return round(sum(values) / len(values), digits)


def parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
