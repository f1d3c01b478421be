"""Logits to predictions that an automaton allows: the tokens of one whole text that fits, and constrained confidences.

Shapes: R rows of one request, V vocabulary, C classes of tokens (`constraint/automaton.py`). All of it is computed on
the host: a row of logits is needed once for the sums over its classes, and once for the token of the chosen class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.engine.constraint.forced import forced_layers
from app.engine.constraint.lattice import Lattice, Paths
from app.engine.constraint.moves import Floats
from app.engine.constraint.posterior import Posterior
from app.engine.decoding.class_sums import ClassSums, Logits
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.sampling import filtered, forbid, score, warmed
from app.engine.interface.errors import EngineError


@dataclass(frozen=True, slots=True)
class LengthTokens:
    """The tokens by which a model changes the length of a canvas. They are no text, and stand beside it."""

    delete: int
    expand: int


@dataclass(frozen=True, slots=True)
class ConstrainedRows:
    """The part of a request's rows that has to spell a text."""

    lattice: Lattice
    length: LengthTokens | None = None
    """`None` where the length of the canvas is fixed."""

    def behind(self, num_rows: int) -> ConstrainedRows:
        """Gives the same with so many rows of logits before it."""
        rows = tuple(row + num_rows for row in self.lattice.rows)
        return replace(self, lattice=replace(self.lattice, rows=rows))

    def forced_rows(self, rules: LogitRules) -> list[int]:
        """Gives the rows in which it leaves one token alone, and no change of length."""
        may_expand = self.length is not None and self.length.expand not in rules.banned
        forced = forced_layers(self.lattice, may_delete=self.length is not None, may_expand=may_expand)
        return [row for row, is_forced in zip(self.lattice.rows, forced, strict=True) if is_forced]


def predict_constrained(
    logits: Tensor, rules: LogitRules, uniforms: Sequence[float], constraint: ConstrainedRows
) -> Tensor:
    """logits [R, V] of the open layers -> [3, R] in float64 on the host: token id, score, constrained probability.

    Args:
        uniforms: one draw from [0, 1) per row, where tokens are sampled.
    """
    own = _Reading(forbid(logits.float(), rules.banned).cpu(), constraint.lattice, is_greedy=not uniforms)
    if not uniforms and not (rules.scores_see_filters and _has_filters(rules)):
        return own.predict(own, rules, uniforms, constraint.length)
    shaped = _shaped(own, rules)
    predicted = shaped.predict(shaped if rules.scores_see_filters else own, rules, uniforms, constraint.length)
    if rules.confidences_are_own and rules.scores_see_filters:
        tokens = predicted[0].to(torch.int64).numpy()
        predicted[2] = own.scored(tokens, replace(rules, score=Score.PROBABILITY), constraint.length)[2]
    return predicted


def _has_filters(rules: LogitRules) -> bool:
    return rules.top_p is not None or rules.top_k is not None or rules.min_p > 0


def _shaped(own: _Reading, rules: LogitRules) -> _Reading:
    """The reading that tokens are drawn from. Filters look at what each position may become, not at what the model
    would like to write there; where they leave no text, they are passed over."""
    shaped = _Reading(warmed(own.logits, rules), own.lattice)
    if not _has_filters(rules):
        return shaped
    marginals = torch.from_numpy(shaped.marginals())
    kept = filtered(marginals.log(), rules) > -torch.inf
    narrowed = _Reading(shaped.logits.masked_fill(~kept, -torch.inf), own.lattice)
    return narrowed if narrowed.paths.is_possible else shaped


class _Reading:
    """One lattice under one set of logits [R, V], on the host in float32.

    Args:
        is_greedy: whether the most probable text is going to be asked for.
    """

    def __init__(self, logits: Tensor, lattice: Lattice, *, is_greedy: bool = False) -> None:
        self._is_greedy = is_greedy
        self.logits = logits
        self.lattice = lattice
        self._rows: Logits = logits.numpy()
        self._posterior: Posterior | None = None
        self._known_odds: Floats | None = None

    @cached_property
    def _sums(self) -> ClassSums:
        return ClassSums(self.logits, self.lattice.automaton, with_best=self._is_greedy)

    @cached_property
    def paths(self) -> Paths:
        return Paths(self.lattice, self._sums.best)

    @property
    def posterior(self) -> Posterior:
        if self._posterior is None:
            self._posterior = Posterior(self.lattice, self._sums.logs)
            if not self._posterior.is_possible:
                raise EngineError("no text that the constraint allows has a probability above zero")
        return self._posterior

    def predict(
        self, seen: _Reading, rules: LogitRules, uniforms: Sequence[float], length: LengthTokens | None
    ) -> Tensor:
        """Gives tokens of this reading, scored as `seen` has them."""
        tokens, rests = self._tokens(uniforms)
        if length is not None:
            tokens = self._with_changes_of_length(tokens, rests, length)
        return seen.scored(tokens, rules, length)

    def _tokens(self, uniforms: Sequence[float]) -> tuple[NDArray[np.int64], list[float]]:
        if not uniforms:
            best = self._sums.best_of
            chosen = [best(row, label) for row, label in enumerate(self.paths.best_classes())]
            return np.array(chosen, dtype=np.int64), []
        labels, rests = self.posterior.draw(uniforms)
        drawn = [self._sums.drawn_of(row, label, rests[row]) for row, label in enumerate(labels)]
        return np.array([token for token, _ in drawn], dtype=np.int64), [rest for _, rest in drawn]

    # Changes of length.

    def _with_changes_of_length(
        self, tokens: NDArray[np.int64], rests: Sequence[float], length: LengthTokens
    ) -> NDArray[np.int64]:
        """Puts an expand or delete token where the model prefers one to the text, and a text of the other length
        exists; by chance where tokens are drawn."""
        odds = self._odds(length)
        if rests:
            bounds = np.cumsum(odds / odds.sum(-1, keepdims=True), axis=1)
            choices = (np.array(rests)[:, None] >= bounds).sum(-1).clip(max=2)
        else:
            shares = odds.copy()
            shares[:, 0] = self._token_shares(tokens)
            choices = shares.argmax(-1)
        with_changes: NDArray[np.int64] = np.where(choices == 1, length.delete, tokens)
        return np.where(choices == 2, length.expand, with_changes)

    def _odds(self, length: LengthTokens) -> Floats:
        """[R, 3]: how probable each row is to be text, which counts as 1, to be deleted, or to be expanded."""
        if self._known_odds is None:
            self._known_odds = self._computed_odds(length)
        return self._known_odds

    def _computed_odds(self, length: LengthTokens) -> Floats:
        deleting = self.posterior.odds_without(self._rows[:, length.delete].astype(np.float64))
        expanding = self.posterior.odds_with_two(self._rows[:, length.expand].astype(np.float64))
        return np.stack((np.ones_like(deleting), deleting, expanding), axis=1)

    def _token_shares(self, tokens: NDArray[np.int64]) -> Floats:
        """[R]: the constrained probability of one token per row, were the length fixed."""
        rows = np.arange(len(tokens))
        labels = self.lattice.automaton.classes[tokens]
        within = np.exp(self._rows[rows, tokens] - self._sums.logs[rows, labels])
        shares: Floats = self.posterior.class_probabilities[rows, labels] * within
        return shares

    # Scores.

    def scored(self, tokens: NDArray[np.int64], rules: LogitRules, length: LengthTokens | None) -> Tensor:
        """Gives [3, R]: the tokens, their scores and their constrained probabilities."""
        if rules.score is Score.PROBABILITY and length is None:
            confidences = self._token_shares(tokens)
            if rules.unscored:
                confidences = np.where(np.isin(tokens, rules.unscored), 0.0, confidences)
            return torch.from_numpy(np.array((tokens, confidences, confidences), dtype=np.float64))
        marginals = torch.from_numpy(self.marginals(length))
        chosen = torch.from_numpy(tokens)
        confidence = marginals.gather(-1, chosen[:, None])[:, 0]
        ranked = score(marginals, confidence, rules.score)
        return torch.stack((chosen.double(), ranked.double(), confidence.double()))

    def marginals(self, length: LengthTokens | None = None) -> Logits:
        """Gives the constrained probability of every token: [R, V] in float32, each row adds up to one."""
        automaton = self.lattice.automaton
        shares = self.posterior.class_probabilities
        with np.errstate(divide="ignore", invalid="ignore"):
            gains = np.where(shares > 0, np.log(shares) - self._sums.logs, -np.inf)
        marginals: Logits = np.exp(self._rows + gains.astype(np.float32).take(automaton.classes, axis=1))
        if length is None:
            return marginals
        odds = self._odds(length)
        marginals[:, length.delete], marginals[:, length.expand] = odds[:, 1], odds[:, 2]
        shared: Logits = marginals / odds.sum(-1, keepdims=True).astype(np.float32)
        return shared
