"""Single-line infilling on held-out functions: hide one whole line, let the model write it, compare."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from app.engine.models.base import FamilyModel
from training.baselines import LineLookup
from training.decoding import fill, fill_variable
from training.objectives import Language
from training.prepare import Corpus

MAX_FUNCTION_TOKENS = 160
STARTING_MASKS = (4, 8, 16)


@dataclass(frozen=True, slots=True)
class HiddenLine:
    """A function with one line taken out, the newline before and behind it left in place."""

    prefix: str
    line: str
    suffix: str

    def completed(self, infill: str) -> str:
        return self.prefix + infill + self.suffix


@dataclass(frozen=True, slots=True)
class Outcome:
    """One infill: its text and its length in tokens less the true one."""

    infill: str
    surplus: int


def hidden_lines(heldout: Corpus, language: Language, count: int) -> list[HiddenLine]:
    """One random line each of `count` held-out functions; never the first line."""
    chance = np.random.default_rng(7)
    cases: list[HiddenLine] = []
    for index in chance.permutation(len(heldout)):
        document = heldout[int(index)].tolist()
        if len(document) <= MAX_FUNCTION_TOKENS and len(cases) < count:
            cases.append(hide_line(language.decode(document), chance))
    return cases


def hide_line(text: str, chance: np.random.Generator) -> HiddenLine:
    lines = text.removesuffix("\n").split("\n")
    candidates = [i for i, line in enumerate(lines) if i and line.strip()]
    chosen = candidates[int(chance.integers(len(candidates)))]
    prefix = "".join(f"{line}\n" for line in lines[:chosen])
    suffix = "".join(f"\n{line}" for line in lines[chosen + 1 :]) + "\n"
    return HiddenLine(prefix, lines[chosen], suffix)


def score_infilling(model: FamilyModel, language: Language, cases: list[HiddenLine]) -> dict[str, Any]:
    """At the oracle length, at fixed lengths, and with variable length from the same numbers of masks."""
    scores = {"oracle_length": _scores(cases, [_fixed(model, language, case, None) for case in cases])}
    for masks in STARTING_MASKS:
        fixed = [_fixed(model, language, case, masks) for case in cases]
        variable = [_variable(model, language, case, masks) for case in cases]
        scores[f"fixed_{masks}_masks"] = _scores(cases, fixed)
        scores[f"variable_from_{masks}_masks"] = _scores(cases, variable)
    return scores


def score_baselines(cases: list[HiddenLine], training_texts: list[str]) -> dict[str, Any]:
    lookup = LineLookup(training_texts)
    guesses = [lookup.predict(_last_line(case.prefix), _first_line(case.suffix)) for case in cases]
    deleted = [parses(case.prefix + case.suffix.removeprefix("\n")) for case in cases]
    return {
        "lookup_exact_match": _share(
            [guess.strip() == case.line.strip() for guess, case in zip(guesses, cases, strict=True)]
        ),
        "lookup_parses": _share([parses(case.completed(guess)) for guess, case in zip(guesses, cases, strict=True)]),
        "deleting_the_line_parses": _share(deleted),
    }


def _last_line(prefix: str) -> str:
    return prefix.removesuffix("\n").rpartition("\n")[2]


def _first_line(suffix: str) -> str:
    return suffix.removeprefix("\n").partition("\n")[0]


def _fixed(model: FamilyModel, language: Language, case: HiddenLine, num_masks: int | None) -> Outcome:
    def decode(before: list[int], after: list[int], length: int) -> list[int]:
        masks = [language.special.mask] * (num_masks or length)
        canvas = fill(model, before + masks + after, forbidden=(language.special.eos,))
        return canvas[len(before) : len(before) + len(masks)]

    return _infill(language, case, decode)


def _variable(model: FamilyModel, language: Language, case: HiddenLine, num_masks: int) -> Outcome:
    return _infill(language, case, lambda before, after, _: fill_variable(model, before, num_masks, after))


def _infill(language: Language, case: HiddenLine, decode: Callable[[list[int], list[int], int], list[int]]) -> Outcome:
    before = language.beginning + language.encode(case.prefix)
    after = [*language.encode(case.suffix), language.special.eos]
    length = len(language.encode(case.line))
    ids = decode(before, after, length)
    return Outcome(language.decode(ids), len(ids) - length)


def _scores(cases: list[HiddenLine], outcomes: list[Outcome]) -> dict[str, float]:
    pairs = list(zip(cases, outcomes, strict=True))
    similarity = [SequenceMatcher(None, case.line.strip(), o.infill.strip()).ratio() for case, o in pairs]
    return {
        "exact_match": _share([case.line.strip() == o.infill.strip() for case, o in pairs]),
        "edit_similarity": round(sum(similarity) / len(pairs), 4),
        "parses": _share([bool(o.infill.strip()) and parses(case.completed(o.infill)) for case, o in pairs]),
        "empty": _share([not o.infill.strip() for _, o in pairs]),
        "mean_length_error": round(sum(abs(o.surplus) for o in outcomes) / len(pairs), 2),
    }


def _share(truths: list[bool]) -> float:
    return round(sum(truths) / len(truths), 4)


def parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True
