"""The masks of a likelihood: which positions of a text are hidden in each sample (LLaDA, arXiv 2502.09992, appendix).

Numbers of masks are spread evenly, so that samples with few masks and with many are never left to chance. A text of 8
tokens, 4 samples, first number 6:

    numbers of masks    6  8  2  4
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class MaskedSample:
    """One masked copy of prompt + answer."""

    masked: tuple[int, ...]
    """Positions, counted from the start of the prompt."""
    share: float
    """Masked positions / length of the answer."""


def draw_samples(
    prompt_length: int, answer_length: int, num_samples: int, rng: np.random.Generator
) -> list[MaskedSample]:
    """Samples whose numbers of masks are spread evenly over 1..answer_length from a random start."""
    first = int(rng.integers(1, answer_length + 1))
    offsets = np.linspace(0, answer_length, num_samples, endpoint=False).round().astype(int)
    counts = (first - 1 + offsets) % answer_length + 1
    answer = np.arange(prompt_length, prompt_length + answer_length)
    return [
        MaskedSample(tuple(sorted(int(i) for i in rng.choice(answer, count, replace=False))), count / answer_length)
        for count in counts
    ]
