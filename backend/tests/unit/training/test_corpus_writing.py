"""The writer: one cached batch writes what a plain network writes, alone; closings, repetitions, and ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.corpus.llama import Llama, Shape
from training.corpus.rows import Closing, Written
from training.corpus.smollm import packed
from training.corpus.writing import Sampling, Vocabulary, Writer

SHAPE = Shape(width=24, layers=2, heads=6, kv_heads=2, head_width=4)
VOCABULARY = 50
MLP_WIDTH = 32
STOP = 0
GREEDY = Sampling(top_k=1, repetition=0, overuse=0)
PROMPTS = [[3, 1, 4], [1, 5, 9, 2, 6, 5], [7]]


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(4)
    sizes = {"token_embd": (VOCABULARY, 24), "output_norm": (24,)}
    for i in range(SHAPE.layers):
        own = {"attn_q": (24, 24), "attn_k": (8, 24), "attn_v": (8, 24), "attn_output": (24, 24)}
        mlp = {"ffn_gate": (MLP_WIDTH, 24), "ffn_up": (MLP_WIDTH, 24), "ffn_down": (24, MLP_WIDTH)}
        sizes |= {
            f"blk.{i}.{name}": size for name, size in {**own, **mlp, "attn_norm": (24,), "ffn_norm": (24,)}.items()
        }
    return {f"{name}.weight": torch.randn(size, generator=chance) for name, size in sizes.items()}


@pytest.fixture(scope="module")
def llama(tensors: dict[str, Tensor]) -> Llama:
    return Llama(SHAPE, packed(tensors, SHAPE, torch.float32))


def writer(llama: Llama, breaks: frozenset[int] = frozenset(), content: Tensor | None = None) -> Writer:
    return Writer(llama, Vocabulary(STOP, torch.arange(VOCABULARY), breaks, content))


def plain_logits(tensors: dict[str, Tensor], ids: list[int]) -> Tensor:
    """The last token's logits, one matrix after the other, pairs turned as the file stores them."""
    x = tensors["token_embd.weight"][ids]
    for i in range(SHAPE.layers):
        own = {name.split(".")[2]: t for name, t in tensors.items() if name.startswith(f"blk.{i}.")}
        h = normed(x, own["attn_norm"])
        q, k, v = (
            (h @ own[f"attn_{part}"].T).view(len(ids), -1, 4).transpose(0, 1).repeat_interleave(copies, 0)
            for part, copies in (("q", 1), ("k", 3), ("v", 3))
        )
        scores = turned(q) @ turned(k).transpose(1, 2) / 2
        scores = scores + torch.full((len(ids), len(ids)), -math.inf).triu(1)
        x = x + (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(ids), -1) @ own["attn_output"].T
        h = normed(x, own["ffn_norm"])
        x = x + (torch.nn.functional.silu(h @ own["ffn_gate"].T) * (h @ own["ffn_up"].T)) @ own["ffn_down"].T
    return normed(x[-1], tensors["output_norm.weight"]) @ tensors["token_embd.weight"].T


def normed(x: Tensor, scale: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + SHAPE.epsilon).rsqrt() * scale


def turned(x: Tensor) -> Tensor:
    """Each pair of neighbours as a complex number, turned by its position."""
    angles = torch.arange(x.shape[1])[:, None] * SHAPE.rope_base ** -torch.tensor([0.0, 0.5])
    pairs = torch.view_as_complex(x.reshape(*x.shape[:2], 2, 2)) * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(pairs).flatten(2)


def plainly_written(tensors: dict[str, Tensor], prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        token = int(plain_logits(tensors, ids).argmax())
        if token == STOP:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_a_batch_of_unequal_prompts_writes_what_a_plain_network_writes(
    llama: Llama, tensors: dict[str, Tensor]
) -> None:
    written = writer(llama).write(PROMPTS, 12, GREEDY, seed=1)
    assert [text.ids for text in written] == [plainly_written(tensors, prompt, 12) for prompt in PROMPTS]


def test_finished_rows_leave_and_change_no_other(llama: Llama) -> None:
    """The first row is closed after its first token; the others are as they are without it."""
    stopped = [Closing([STOP], 0), None, None]
    every = frozenset(range(VOCABULARY))
    written = writer(llama, every).write(PROMPTS, 8, GREEDY, 1, stopped)
    alone = writer(llama, every).write(PROMPTS[1:], 8, GREEDY, 1)
    assert (written[0].ids, written[0].ended) == ([], True)
    assert [text.ids for text in written[1:]] == [text.ids for text in alone]


def test_the_seed_fixes_what_is_drawn(llama: Llama) -> None:
    drawn = [
        [text.ids for text in writer(llama).write(PROMPTS, 8, Sampling(temperature=2, min_p=0), seed)]
        for seed in (5, 5, 6)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_only_allowed_ids_are_written(llama: Llama) -> None:
    allowed = torch.tensor([STOP, 11, 12, 13])
    sampling = Sampling(temperature=3, top_k=4, min_p=0)
    written = Writer(llama, Vocabulary(STOP, allowed)).write(PROMPTS, 10, sampling, 2)
    assert {token for text in written for token in text.ids} <= {11, 12, 13}


def test_a_word_of_content_gives_way_once_it_is_overused(llama: Llama) -> None:
    content = torch.ones(VOCABULARY, dtype=torch.bool)
    sampling = Sampling(top_k=1, repetition=0, overuse=1000, most_overuse=1000)
    [written] = writer(llama, content=content).write([[7]], 10, sampling, 0)
    assert len(set(written.ids)) == len(written.ids) > 1


def test_the_fourth_word_of_a_run_is_remembered_as_a_repetition() -> None:
    text = Written()
    for token in (1, 2, 3, 4, 9, 1, 2, 3):
        text.take(token, STOP, frozenset())
    assert text.repeated() == [4]


def test_last_words_come_at_the_first_break_after_their_time_and_the_next_break_ends_the_text() -> None:
    text = Written(Closing([30, 31], after=2))
    taken = [text.take(token, STOP, frozenset({8})) for token in (8, 5, 6, 8, 7, 7, 8, 5)]
    assert taken == [8, 5, 6, 30, 31, 7, STOP, STOP]
    assert text.ended
    assert text.ids == [8, 5, 6, 30, 31, 7]
