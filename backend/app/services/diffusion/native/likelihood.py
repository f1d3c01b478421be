"""Texts behind a prefix as masked canvases that the engine reads, and the bound on their likelihood that follows.

A segment is what is predicted together: the whole text, or for block-causal models its part of one block, given the
clean blocks before it (arXiv 2503.09573). Blocks of 4, a prefix of 2 tokens, 5 of text:

    position       0 1 2 3   4 5 6
    first canvas   p p _ t                  a sample of the segment 2 3
    second         p p t t   _ t _          a sample of the segment 4 5 6
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from app.engine.canvas.masking import MaskedSample, draw_samples
from app.engine.interface.events import CanvasesRead
from app.engine.interface.params import ReadCanvas
from app.services.diffusion.errors import InvalidParameters
from app.services.diffusion.families.base import TextFamily
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.model_events import LikelihoodsRead
from app.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from app.engine.models.base import ModelConfig

MAX_TOKENS = 131_072
"""Tokens of all canvases of a request."""
PASS_TOKENS = 128
"""Tokens of them in one pass, so that whoever writes beside it is not held up for long."""

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens that are predicted together, behind clean ones."""

    ids: Ids
    """The canvas, clean."""
    samples: list[MaskedSample]


@dataclass(frozen=True, slots=True)
class ScoredText:
    """One text in tokens, behind what fits of its prefix."""

    num_tokens: int
    num_bytes: int
    num_left_out: int
    segments: list[Segment]


@dataclass(frozen=True, slots=True)
class Scoring:
    """All texts of a request."""

    texts: list[ScoredText]
    mask_id: int
    num_given: int
    """Tokens of the prefix and of all texts."""

    num_top: ClassVar[int] = 0
    max_pass_tokens: ClassVar[int] = PASS_TOKENS

    @property
    def num_left_out(self) -> int:
        """Tokens of the prefix that some text does not have before it."""
        return max(text.num_left_out for text in self.texts)

    @property
    def canvases(self) -> tuple[ReadCanvas, ...]:
        """A canvas for each sample, whose scored ids are the truth."""
        segments = (segment for text in self.texts for segment in text.segments)
        return tuple(_canvas(segment.ids, sample, self.mask_id) for segment in segments for sample in segment.samples)

    def answer(self, read: CanvasesRead, tokenizer: Tokenizer) -> LikelihoodsRead:
        """The likelihood of each text, as it leaves the server."""
        logprobs = (position.scored[0] for position in read.positions)
        return LikelihoodsRead([_answer(text, logprobs) for text in self.texts])


def scoring_of(
    params: DiffusionLikelihoodParams, family: TextFamily, tokenizer: Tokenizer, config: ModelConfig
) -> Scoring:
    """The texts of a request with their masks drawn. Each text has the masks that it would have alone.

    Raises:
        InvalidParameters: a text is longer than the context or has no token, all canvases are too many, or the model's
            order of prediction has no such bound.
        TextError: a text is not valid Unicode.
    """
    _refuse_first_tokens(config)
    begin = (tokenizer.require("bos"),) if family.always_begins or tokenizer.adds_bos else ()
    prefix = (*begin, *tokenizer.encode(params.prefix))
    encoded = [tuple(tokenizer.encode(text)) for text in params.texts]
    _check_lengths(encoded, len(begin), config.context_length)
    _check_cost(prefix, encoded, params, config)
    texts = [
        _scored_text(prefix, ids, len(text.encode()), params, config)
        for text, ids in zip(params.texts, encoded, strict=True)
    ]
    return Scoring(texts, config.special.mask, len(prefix) + sum(map(len, encoded)))


def _refuse_first_tokens(config: ModelConfig) -> None:
    if config.block_length is not None and config.prediction_shift:
        raise InvalidParameters(
            "this model predicts the first token of each block from the block before it and the others behind "
            "that one, so masks that are drawn at random give no bound on what it writes; ask another model",
            field="model_id",
        )


def _check_lengths(encoded: Sequence[Ids], num_begin: int, context_length: int) -> None:
    for index, ids in enumerate(encoded):
        if not ids:
            raise InvalidParameters(f"texts[{index}] has no token for this model; leave it out", field="texts")
        if num_begin + len(ids) > context_length:
            raise InvalidParameters(
                f"texts[{index}] has {num_begin + len(ids)} tokens, and the model sees {context_length}; cut it into "
                "parts, each behind the part before it as its prefix",
                field="texts",
            )


def _check_cost(prefix: Ids, encoded: Sequence[Ids], params: DiffusionLikelihoodParams, config: ModelConfig) -> None:
    lengths = [(min(len(prefix) + len(ids), config.context_length), len(ids)) for ids in encoded]
    segments = (each for whole, own in lengths for each in _segments(whole - own, whole, config.block_length))
    cost = params.num_samples * sum(end for _, end in segments)
    if cost > MAX_TOKENS:
        raise InvalidParameters(
            f"num_samples={params.num_samples} come to {cost} tokens to compute, and a request may have {MAX_TOKENS}; "
            "ask for fewer samples or shorter texts, or in several requests",
            field="num_samples",
        )


def _scored_text(
    prefix: Ids, ids: Ids, num_bytes: int, params: DiffusionLikelihoodParams, config: ModelConfig
) -> ScoredText:
    num_left_out = max(0, len(prefix) + len(ids) - config.context_length)
    whole = (*prefix[num_left_out:], *ids)
    rng = np.random.default_rng(params.seed)
    segments = [
        Segment(whole[:end], draw_samples(start, end - start, params.num_samples, rng))
        for start, end in _segments(len(whole) - len(ids), len(whole), config.block_length)
    ]
    return ScoredText(len(ids), num_bytes, num_left_out, segments)


def _segments(start: int, end: int, block_length: int | None) -> Iterator[tuple[int, int]]:
    """Cuts [start, end) at the borders of blocks. 2 to 7 in blocks of 4: (2, 4) and (4, 7)."""
    while start < end:
        border = end if block_length is None else min(end, start - start % block_length + block_length)
        yield start, border
        start = border


def _canvas(ids: Ids, sample: MaskedSample, mask_id: int) -> ReadCanvas:
    masked = list(ids)
    for position in sample.masked:
        masked[position] = mask_id
    return ReadCanvas(tuple(masked), sample.masked, tuple((ids[position],) for position in sample.masked))


def _answer(text: ScoredText, logprobs: Iterator[float]) -> dict[str, Any]:
    estimates = [
        [(sum(next(logprobs) for _ in sample.masked) / sample.share, len(sample.masked)) for sample in segment.samples]
        for segment in text.segments
    ]
    total = math.fsum(math.fsum(value for value, _ in each) / len(each) for each in estimates)
    bits = -total / math.log(2)
    return {
        "log_likelihood": total,
        "standard_error": None if text.num_tokens > 1 and len(estimates[0]) < 2 else _standard_error(estimates),
        "tokens": text.num_tokens,
        "bytes": text.num_bytes,
        "bits_per_token": bits / text.num_tokens,
        "bits_per_byte": bits / text.num_bytes,
        "truncated_prefix_tokens": text.num_left_out,
    }


def _standard_error(estimates: Sequence[Sequence[tuple[float, int]]]) -> float:
    """The standard error of a sum of means over evenly spread samples, from the differences of those that are
    neighbours by their number of masks (Wolter, Introduction to Variance Estimation, 2007, section 8.2): what the
    number of masks explains, even spreading has taken away."""
    return math.sqrt(sum(_variance(each) for each in estimates))


def _variance(estimates: Sequence[tuple[float, int]]) -> float:
    """Estimates 10, 12 and 11, by number of masks: (4 + 1) / (2 * 2 * 3)."""
    values = np.array([value for value, _ in sorted(estimates, key=lambda each: each[1])])
    if len(values) < 2:
        return 0.0
    return float((np.diff(values) ** 2).sum() / (2 * (len(values) - 1) * len(values)))
