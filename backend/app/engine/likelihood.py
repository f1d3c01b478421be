"""The likelihood of an answer under a masked diffusion model: a Monte-Carlo bound (LLaDA, 2502.09992, appendix B).

Mask some positions of the answer, predict them all in one forward pass, and weigh their cross-entropy by the share
that was masked. The mean over many masks bounds -log p(answer | prompt) from above. `canvas/masking.py`
draws the masks. This is the plain form, with guidance, which the golden vectors of the published evaluation
judge; a server reads the same masks as canvases (`request/read.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from app.engine.canvas.masking import MaskedSample
from app.engine.decoding.guidance import guide, unconditional_ids
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput


@torch.inference_mode()
def cross_entropies(
    runner: ModelRunner,
    prompt: Sequence[int],
    answer: Sequence[int],
    samples: Sequence[MaskedSample],
    cfg_scale: float = 0.0,
) -> list[list[float]]:
    """Cross-entropy in nats of every masked position of every sample, all in one forward pass."""
    truth = [*prompt, *answer]
    logits = _logits(runner, [_mask(truth, s.masked, runner) for s in samples], len(prompt), cfg_scale)
    targets = torch.tensor([truth[i] for s in samples for i in s.masked], device=logits.device)
    flat = F.cross_entropy(logits.float(), targets, reduction="none").cpu()
    return [part.tolist() for part in torch.split(flat, [len(s.masked) for s in samples])]


def log_likelihood(
    runner: ModelRunner,
    prompt: Sequence[int],
    answer: Sequence[int],
    rounds: Sequence[Sequence[MaskedSample]],
    cfg_scale: float = 0.0,
) -> float:
    """The bound on log p(answer | prompt) in nats: minus the mean loss of `rounds`."""
    losses = [round_loss(samples, cross_entropies(runner, prompt, answer, samples, cfg_scale)) for samples in rounds]
    return -float(np.mean(losses))


def round_loss(samples: Sequence[MaskedSample], entropies: Sequence[Sequence[float]]) -> float:
    """Σ cross-entropy / share, over the number of samples."""
    return sum(sum(row) / s.share for s, row in zip(samples, entropies, strict=True)) / len(samples)


def _mask(truth: Sequence[int], masked: Sequence[int], runner: ModelRunner) -> SequenceInput:
    ids = list(truth)
    for index in masked:
        ids[index] = runner.model.config.special.mask
    return SequenceInput(ids, masked)


def _logits(runner: ModelRunner, sequences: list[SequenceInput], prompt_length: int, cfg_scale: float) -> Tensor:
    if cfg_scale == 0.0:
        return runner.logits(sequences)
    mask = runner.model.config.special.mask
    blind = [SequenceInput(unconditional_ids(s.ids, range(prompt_length), mask), s.wanted) for s in sequences]
    conditional, unconditional = runner.logits(sequences + blind).chunk(2)
    return guide(conditional, unconditional, cfg_scale)
