"""Writes many texts at once: rows of equal length with one cache, which finished rows leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from training.corpus.llama import Cache, Llama
from training.corpus.rows import Closing, Written

HIDDEN = -1e4
PREFILL_ROWS = 32
"""The number of prompts that are read at a time: few enough that their states stay in the processor's cache."""
MOST_FINISHED = 1 / 8
"""The share of finished rows that are carried along before the cache is copied without them."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The choice among the likeliest `top_k` tokens that have at least `min_p` of the likeliest's probability."""

    temperature: float = 0.6
    top_k: int = 40
    """A value of 1 takes the likeliest token."""
    min_p: float = 0.1
    repetition: float = 3.0
    """The number that is taken from the logits of tokens that would write a run of four tokens again."""
    overuse: float = 1.0
    """The number that is taken from the logit of a content word for each time that the text has it."""
    most_overuse: float = 4.0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The roles of token ids."""

    stop: int
    """The id that ends a text."""
    allowed: Tensor
    """The only ids that are ever written: products and sampling see no others."""
    breaks: frozenset[int] = frozenset()
    """The ids that end a paragraph."""
    content: Tensor | None = None
    """Whether each of the vocabulary's tokens is a word of content."""


class Writer:
    """Continues many prompts at once with a network."""

    def __init__(self, llama: Llama, vocabulary: Vocabulary) -> None:
        self.llama = llama
        self.vocabulary = vocabulary
        self.head = llama.weights.head[vocabulary.allowed]
        self.index = {token: i for i, token in enumerate(vocabulary.allowed.tolist())}
        size = len(llama.weights.head)
        content = torch.zeros(size) if vocabulary.content is None else vocabulary.content
        self.content = content[vocabulary.allowed].to(llama.dtype)

    @torch.inference_mode()
    def write(
        self,
        prompts: Sequence[list[int]],
        most_new: int,
        sampling: Sampling,
        seed: int,
        closings: Sequence[Closing | None] | None = None,
    ) -> list[Written]:
        """The continuations in the order of the prompts, at most `most_new` tokens each; the seed fixes them."""
        chance = torch.Generator().manual_seed(seed)
        texts = [Written(closing) for closing in closings or [None] * len(prompts)]
        cache, states = self._read_prompts(prompts, most_new)
        rows = list(texts)
        overuse = torch.zeros(len(rows), len(self.head), dtype=self.llama.dtype)
        for _ in range(most_new):
            chosen = self._next(states, rows, overuse, sampling, chance)
            going_on = [i for i, text in enumerate(rows) if not text.ended]
            if not going_on:
                break
            if len(going_on) < (1 - MOST_FINISHED) * len(rows):
                rows, chosen, overuse = [rows[i] for i in going_on], [chosen[i] for i in going_on], overuse[going_on]
                cache.keep(torch.tensor(going_on))
            states = self.llama.read(torch.tensor(chosen)[:, None], cache)[:, -1]
        return texts

    def _next(
        self, states: Tensor, rows: list[Written], overuse: Tensor, sampling: Sampling, chance: torch.Generator
    ) -> list[int]:
        """The next token of each row, noted in the row and in `overuse`, `[rows, allowed]`."""
        logits = linear(states, self.head).sub_(overuse)
        repeated = [(i, self.index[t]) for i, row in enumerate(rows) for t in row.repeated() if t in self.index]
        if repeated:
            logits[tuple(torch.tensor(repeated).T)] -= sampling.repetition
        drawn = draw_tokens(logits, sampling, chance)
        every = torch.arange(len(rows))
        more = overuse[every, drawn] + sampling.overuse * self.content[drawn]
        overuse[every, drawn] = more.clamp(max=sampling.most_overuse)
        tokens = self.vocabulary.allowed[drawn].tolist()
        stop, breaks = self.vocabulary.stop, self.vocabulary.breaks
        return [row.take(token, stop, breaks) for row, token in zip(rows, tokens, strict=True)]

    def _read_prompts(self, prompts: Sequence[list[int]], most_new: int) -> tuple[Cache, Tensor]:
        """The cache after all prompts, and the last state of each, `[rows, width]`; padding begins short prompts."""
        longest = max(map(len, prompts))
        cache = self.llama.cache(len(prompts), longest + most_new)
        for row, prompt in enumerate(prompts):
            cache.bias[row, ..., : longest - len(prompt)] = HIDDEN
        padded = torch.tensor([[self.vocabulary.stop] * (longest - len(prompt)) + prompt for prompt in prompts])
        states = []
        for start in range(0, len(prompts), PREFILL_ROWS):
            part = cache.part(start, start + PREFILL_ROWS)
            states.append(self.llama.read(padded[start : start + PREFILL_ROWS], part)[:, -1])
        cache.length = longest
        return cache, torch.cat(states)


def draw_tokens(logits: Tensor, sampling: Sampling, chance: torch.Generator) -> Tensor:
    """A drawn index for each row of `[rows, tokens]`."""
    top = logits.topk(sampling.top_k)
    weights = ((top.values - top.values[:, :1]).float() / sampling.temperature).exp()
    weights = weights.masked_fill(weights < sampling.min_p, 0)
    drawn = torch.multinomial(weights, 1, generator=chance)
    return top.indices.gather(1, drawn)[:, 0]
