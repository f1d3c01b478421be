"""Logits to predictions: temperature, top-p, top-k, min-p, the choice of a token and its score.

Shapes: R rows (candidate positions of one or more requests), V vocabulary. Every operation works on each row
alone, so a row's result does not depend on the rows beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from app.engine.decoding.rules import LogitRules, Score
from app.engine.interface.events import TokenLogprobs

# Divided by less, logits would overflow float32; the distribution is a single token long before.
_LEAST_TEMPERATURE = 1e-20
_GROUP = 8
"""Columns that share a maximum while the largest are looked for."""


def predict(logits: Tensor, rules: LogitRules, uniforms: Tensor | None) -> Tensor:
    """logits [R, V] -> [3, R] in float64: token id, score, probability of the token as it was scored, or as the model
    has it where the rules want that.

    `uniforms` [R] in float64, one draw from [0, 1) per row; needed where the temperature is above 0.
    """
    logits = forbid(logits.float(), rules.banned)
    predicted = _predict(logits, rules, uniforms)
    if rules.confidences_are_own and rules.scores_see_filters:
        predicted[2] = _own_probabilities(predicted[0].long(), logits, rules)
    return predicted


def _predict(logits: Tensor, rules: LogitRules, uniforms: Tensor | None) -> Tensor:
    if not _only_the_best_count(rules, logits.shape[-1]):
        return _predict_from_all(logits, rules, uniforms)
    predicted, needs_all = _predict_from_best(logits, rules, uniforms)
    if bool(needs_all.any()):  # row by row, so that no row hangs on another
        uniforms_left = None if uniforms is None else uniforms[needs_all]
        predicted[:, needs_all] = _predict_from_all(logits[needs_all], rules, uniforms_left)
    return predicted


def _predict_from_all(logits: Tensor, rules: LogitRules, uniforms: Tensor | None) -> Tensor:
    shaped = logits
    if uniforms is not None or rules.scores_see_filters:  # else the best token is what counts, and no filter drops that
        shaped = filtered(warmed(logits, rules), rules)
    drawn_from = _drawable(shaped, logits, rules)
    tokens = most_probable(drawn_from) if uniforms is None else draw(drawn_from, uniforms)
    seen = shaped if rules.scores_see_filters else forbid(logits, rules.unscored)
    return _scored(tokens, tokens, seen.softmax(-1), rules)


def filtered(logits: Tensor, rules: LogitRules) -> Tensor:
    """logits [R, V], warmed -> the same, without what top-p, top-k and min-p drop."""
    if rules.top_k_first:
        return keep_min_p(keep_top_p(keep_top_k(logits, rules), rules), rules)
    return keep_min_p(keep_top_k(keep_top_p(logits, rules), rules), rules)


def _drawable(shaped: Tensor, logits: Tensor, rules: LogitRules) -> Tensor:
    """Gives the logits that a token is drawn from: `shaped` [R, V] without the ids that are not drawn. Where the
    filters left nothing else of a row, its own `logits` [R, V] without them."""
    if not rules.undrawn:
        return shaped
    allowed = forbid(shaped, rules.undrawn)
    is_empty = allowed.amax(-1, keepdim=True) == -torch.inf
    return torch.where(is_empty, forbid(logits, rules.undrawn), allowed)


def most_probable(logits: Tensor) -> Tensor:
    """logits [R, V] -> [R]. On a CPU by NumPy: its search takes a tenth of the time, and wakes no threads."""
    if logits.device.type != "cpu":
        return logits.argmax(-1)
    return torch.from_numpy(logits.numpy().argmax(-1))


def row_sums(logits: Tensor) -> Tensor:
    """logits [R, V] -> [R] in float32, not finite where any number of a row is not. On a CPU by NumPy: it wakes no
    threads."""
    if logits.device.type != "cpu" or logits.dtype != torch.float32:
        return logits.sum(-1, dtype=torch.float32)
    with np.errstate(all="ignore"):
        return torch.from_numpy(logits.numpy().sum(-1))


def _only_the_best_count(rules: LogitRules, vocab_size: int) -> bool:
    """Whether the k best logits and the sum of all decide everything: then the rest is not sorted."""
    if rules.top_k is None or rules.top_k >= vocab_size:
        return False
    return rules.scores_see_filters or (rules.temperature > 0 and rules.score is Score.PROBABILITY)


def _predict_from_best(logits: Tensor, rules: LogitRules, uniforms: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gives the same from the k best tokens of each row, in the order of the vocabulary; and [R] whether they do not
    suffice: the k-th has equals among those that are left out, or none of them may be drawn."""
    assert rules.top_k is not None, "asked before"
    scaled = warmed(logits, rules)
    best, by_rank = largest(scaled, rules.top_k + 1)
    needs_all = best[:, -2] == best[:, -1]  # more than k tokens stay
    best[:, -1] = -torch.inf
    columns, order = by_rank.sort(-1)
    shaped = keep_min_p(_above_top_p(best, scaled, by_rank, rules), rules).gather(-1, order)
    allowed = shaped
    if rules.undrawn:
        is_undrawn = torch.isin(columns, torch.tensor(rules.undrawn, device=columns.device))
        allowed = shaped.masked_fill(is_undrawn, -torch.inf)
        needs_all |= allowed.amax(-1) == -torch.inf
    chosen = allowed.argmax(-1) if uniforms is None else draw(allowed, uniforms)
    tokens = columns.gather(-1, chosen[:, None])[:, 0]
    if rules.scores_see_filters:
        return _scored(tokens, chosen, shaped.softmax(-1), rules), needs_all
    seen = forbid(logits, rules.unscored)
    confidence = seen.softmax(-1).gather(-1, tokens[:, None])[:, 0]
    return torch.stack((tokens.double(), confidence.double(), confidence.double())), needs_all


def largest(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`topk` of x [R, V]: values and columns, in falling order. On a CPU that takes long, for it sorts through all of a
    row. The row is cut into groups first: the largest numbers are in the groups with the largest maxima."""
    num_rows, num_columns = x.shape
    num_groups = num_columns // _GROUP
    if x.device.type != "cpu" or num_columns % _GROUP or num_groups < 2 * count:
        return x.topk(count, dim=-1)
    groups = x.reshape(num_rows, _GROUP, num_groups).amax(1).topk(count, dim=-1, sorted=False).indices
    columns = (groups[:, None] + torch.arange(0, num_columns, num_groups)[:, None]).view(num_rows, -1)
    values, places = x.gather(-1, columns).topk(count, dim=-1)
    return values, columns.gather(-1, places)


def _above_top_p(best: Tensor, warmed: Tensor, columns: Tensor, rules: LogitRules) -> Tensor:
    """`keep_top_p` for the best logits of each row, in falling order, which stand in these columns of `warmed`."""
    if rules.top_p is None or rules.top_p >= 1.0:
        return best
    probabilities = best.softmax(-1) if rules.top_k_first else warmed.softmax(-1).gather(-1, columns)
    dropped = probabilities.cumsum(-1) - probabilities > rules.top_p
    dropped[:, 0] = False
    return best.masked_fill(dropped, -torch.inf)


def warmed(logits: Tensor, rules: LogitRules) -> Tensor:
    """logits [R, V] -> the same divided by the temperature; as they are where that is 0."""
    return logits if rules.temperature == 0 else logits / max(rules.temperature, _LEAST_TEMPERATURE)


def _own_probabilities(tokens: Tensor, logits: Tensor, rules: LogitRules) -> Tensor:
    return forbid(logits, rules.unscored).softmax(-1).gather(-1, tokens[:, None])[:, 0].double()


def _scored(tokens: Tensor, columns: Tensor, probabilities: Tensor, rules: LogitRules) -> Tensor:
    """`columns` says where the tokens stand in `probabilities`."""
    confidence = probabilities.gather(-1, columns[:, None])[:, 0]
    return torch.stack((tokens.double(), score(probabilities, confidence, rules.score).double(), confidence.double()))


def forbid(logits: Tensor, token_ids: tuple[int, ...]) -> Tensor:
    """logits [R, V] -> the same, minus infinity in the columns of these ids."""
    if not token_ids:
        return logits
    return torch.where(_columns(token_ids, logits.shape[-1], logits.device), -torch.inf, logits)


@lru_cache(maxsize=16)
def _columns(token_ids: tuple[int, ...], vocab_size: int, device: torch.device) -> Tensor:
    """[V]: whether the column is one of the ids, which are asked for at every step. Where a head is much wider than its
    tokenizer, there are 100,000 of them."""
    with torch.inference_mode(False):
        columns = torch.zeros(vocab_size, dtype=torch.bool)
        columns[list(token_ids)] = True
        return columns.to(device)


def keep_top_p(logits: Tensor, rules: LogitRules) -> Tensor:
    """Drops a token where the probability of all better ones already exceeds `top_p`; the best one always stays."""
    if rules.top_p is None or rules.top_p >= 1.0:
        return logits
    if logits.device.type != "cpu":
        return _top_p_by_rank(logits, rules.top_p)
    kept, needs_ranks = _top_p_by_value(logits, rules.top_p)
    if bool(needs_ranks.any()):
        kept[needs_ranks] = _top_p_by_rank(logits[needs_ranks], rules.top_p)
    return kept


def _top_p_by_rank(logits: Tensor, top_p: float) -> Tensor:
    ordered, columns = logits.sort(-1, descending=True)
    dropped = _behind_top_p(ordered, top_p)
    return logits.masked_fill(torch.zeros_like(dropped).scatter(-1, columns, dropped), -torch.inf)


def _top_p_by_value(logits: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Gives the same without asking where each number stood, which lets NumPy sort them in a twentieth of the time; and
    [R] whether that does not suffice: a token that is dropped equals one that stays."""
    ordered = torch.from_numpy(np.sort(logits.numpy(), axis=-1)).flip(-1)
    dropped = _behind_top_p(ordered, top_p)
    weakest = ordered.masked_fill(dropped, torch.inf).amin(-1, keepdim=True)
    best_dropped = ordered.masked_fill(~dropped, -torch.inf).amax(-1, keepdim=True)
    return logits.masked_fill(logits < weakest, -torch.inf), ~(best_dropped < weakest)[:, 0]


def _behind_top_p(ordered: Tensor, top_p: float) -> Tensor:
    """ordered [R, V], in falling order -> [R, V]: whether the probability of what stands before exceeds `top_p`."""
    probabilities = ordered.softmax(-1)
    dropped = probabilities.cumsum(-1) - probabilities > top_p
    dropped[:, 0] = False
    return dropped


def keep_top_k(logits: Tensor, rules: LogitRules) -> Tensor:
    """Drops every token below the k-th best; equals of the k-th stay."""
    if rules.top_k is None or rules.top_k >= logits.shape[-1]:
        return logits
    weakest = logits.topk(rules.top_k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < weakest, -torch.inf)


def keep_min_p(logits: Tensor, rules: LogitRules) -> Tensor:
    """Drops a token whose probability is below `min_p` times that of the best one, which always stays."""
    if rules.min_p <= 0.0:
        return logits
    least = logits.amax(-1, keepdim=True) + math.log(rules.min_p)
    return logits.masked_fill(logits < least, -torch.inf)


def log_probabilities(logits: Tensor, token_ids: Sequence[int], num_top: int) -> list[TokenLogprobs]:
    """log-softmax of logits [R, V]: of one token per row, and of the `num_top` most probable ones."""
    logprobs = logits.float().log_softmax(-1)
    chosen = logprobs.gather(-1, torch.tensor(token_ids, device=logits.device)[:, None])
    values, columns = logprobs.topk(min(num_top, logits.shape[-1]), dim=-1)
    rows = zip(chosen[:, 0].tolist(), columns.tolist(), values.tolist(), strict=True)
    return [TokenLogprobs(logprob, tuple(zip(ids, best, strict=True))) for logprob, ids, best in rows]


def log_probabilities_of(logits: Tensor, token_ids: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
    """log-softmax of logits [R, V], of the tokens that are given for each row; of no other does a number leave the
    device."""
    rows = [row for row, ids in enumerate(token_ids) for _ in ids]
    columns = [token_id for ids in token_ids for token_id in ids]
    logprobs = logits.float().log_softmax(-1)
    on_cpu = logprobs.device.type == "cpu"  # NumPy picks a few numbers in a third of the time
    values = iter((logprobs.numpy() if on_cpu else logprobs)[rows, columns].tolist())
    return [tuple(next(values) for _ in ids) for ids in token_ids]


def probabilities_of(logits: Tensor, token_ids: Sequence[int]) -> list[float]:
    """softmax of logits [R, V], of one token per row."""
    columns = torch.tensor(token_ids, device=logits.device)[:, None]
    return [float(p) for p in logits.float().softmax(-1).gather(-1, columns)[:, 0].tolist()]


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """One token per row from softmax(logits), by inverting the cumulative distribution in float64.

    The same distribution as Gumbel-max, with one random number per row instead of V; float64 keeps the tail that
    single precision would cut off (arXiv 2409.02908). A row that is not finite gives any token, but one of the
    vocabulary: an index outside would end every request on a GPU, and the process's use of it.
    """
    cumulative = logits.double().softmax(-1).cumsum(-1)
    cumulative /= cumulative[:, -1:].clone()
    return torch.searchsorted(cumulative, uniforms[:, None], right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def score(probabilities: Tensor, confidence: Tensor, kind: Score) -> Tensor:
    """probabilities [R, V] and those of the chosen tokens [R] -> scores [R]."""
    if kind is Score.MARGIN:
        top = probabilities.topk(2, dim=-1).values
        return top[:, 0] - top[:, 1]
    if kind is Score.NEGATIVE_ENTROPY:
        return (probabilities * (probabilities + 1e-10).log()).sum(-1)
    return confidence
