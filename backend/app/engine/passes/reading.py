"""Raw logits to predictions: guidance, tokens and scores, and whether all of it is finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from app.engine.decoding.constrained import predict_constrained
from app.engine.decoding.guidance import guide
from app.engine.decoding.rules import LogitRules
from app.engine.decoding.sampling import predict
from app.engine.decoding.step import Prediction
from app.engine.device.devices import is_broken, is_out_of_memory
from app.engine.passes.work import Work

log = logging.getLogger(__name__)


def guided(work: Work, logits: Tensor) -> Tensor:
    """Logits [R, V] of a request's sequences with guidance applied: one row for each wanted position."""
    if work.guidance_scale == 0:
        return logits
    conditional, unconditional = logits.chunk(2)
    return guide(conditional, unconditional, work.guidance_scale)


def read(works: Sequence[Work], logits: Sequence[Tensor], raw: Sequence[Tensor], sums: Tensor) -> list[Prediction]:
    """The predictions of all requests, by one copy to the host. Requests with equal rules are read in one go; for those
    that only score tokens nothing is predicted.

    Args:
        logits: those of each request, as they are read.
        raw: those of each request, as the model gave them.
        sums: the sum of each raw row [R], not finite where there is NaN or infinity in the row: one look at each
            number, and it comes to the host with the predictions.
    """
    groups: dict[LogitRules, list[int]] = {}
    for index, work in enumerate(works):
        if not (work.constrained or work.scored_ids):
            groups.setdefault(work.rules, []).append(index)
    predicted = []
    for members in groups.values():
        rows = torch.cat([logits[index] for index in members]) if len(works) > 1 else logits[0]
        draws = [u for index in members for u in works[index].uniforms]
        uniforms = torch.tensor(draws, dtype=torch.float64, device=rows.device) if draws else None
        predicted.append(predict(rows, works[members[0]].rules, uniforms))
    on_host = torch.cat((*(torch.cat(predicted, dim=1) if predicted else ()), sums.double())).tolist()
    num_read = (len(on_host) - len(sums)) // 3
    token_ids, scores, confidences = (on_host[kind * num_read : (kind + 1) * num_read] for kind in range(3))
    predictions: dict[int, Prediction] = {}
    start = 0
    for index in [index for members in groups.values() for index in members]:
        span = slice(start, start + len(logits[index]))
        predictions[index] = Prediction([int(i) for i in token_ids[span]], scores[span], confidences[span])
        start = span.stop
    sums_left = iter(on_host[3 * num_read :])
    sums_of = [sum(islice(sums_left, len(part))) for part in raw]
    for index, work in enumerate(works):
        if work.scored_ids:
            nothing = [0.0] * len(logits[index])
            predictions[index] = Prediction([0] * len(logits[index]), nothing, nothing)
        elif work.constrained:
            predictions[index] = _read_isolated(work, logits[index], sums_of[index])
    return [_checked(predictions[index], part, sums_of[index]) for index, part in enumerate(raw)]


def _read_isolated(work: Work, logits: Tensor, sum_of_raw: float) -> Prediction:
    """The prediction of a constrained request; or why there is none, for its defect must not end its neighbours. What
    is wrong with the device is raised: that concerns all of them."""
    try:
        return _read_constrained(work, logits, sum_of_raw)
    except Exception as error:
        if is_out_of_memory(error) or is_broken(error):
            raise
        log.exception("the logits of a constrained request could not be read")
        return Prediction([], [], [], failure=f"{type(error).__name__}: {error}")


def _read_constrained(work: Work, logits: Tensor, sum_of_raw: float) -> Prediction:
    """The prediction of a request whose rows [R, V] have to spell allowed texts; rows that belong to none are read as
    any others."""
    if not math.isfinite(sum_of_raw) and not bool(logits.isfinite().all()):
        return Prediction([0] * len(logits), [math.nan] * len(logits), [math.nan] * len(logits))
    in_texts = [row for part in work.constrained for row in part.lattice.rows]
    predicted = torch.empty((3, len(logits)), dtype=torch.float64)
    if len(in_texts) < len(logits):
        uniforms = torch.tensor(work.uniforms, dtype=torch.float64, device=logits.device) if work.uniforms else None
        predicted = predict(logits, work.rules, uniforms).cpu()
    for part in work.constrained:
        rows = list(part.lattice.rows)
        if rows == list(range(len(logits))):
            predicted = predict_constrained(logits, work.rules, work.uniforms, part)
        elif rows:
            uniforms_of = [work.uniforms[row] for row in rows] if work.uniforms else []
            predicted[:, rows] = predict_constrained(logits[rows], work.rules, uniforms_of, part)
    token_ids, scores, confidences = predicted.tolist()
    return Prediction([int(i) for i in token_ids], scores, confidences)


def _checked(prediction: Prediction, raw: Tensor, sum_of_raw: float) -> Prediction:
    """The prediction, with the number of rows that are not finite: as the model gave them [R, V], or after guidance and
    rules. Infinity that stands for a banned token is not in the one and does not reach the other."""
    if math.isfinite(sum_of_raw + sum(prediction.scores) + sum(prediction.confidences)):
        return prediction
    num_raw = int((~raw.isfinite()).any(-1).sum())  # finite numbers may have a sum that is not
    num_read = sum(not math.isfinite(a + b) for a, b in zip(prediction.scores, prediction.confidences, strict=True))
    return replace(prediction, num_broken=max(num_raw, num_read))
