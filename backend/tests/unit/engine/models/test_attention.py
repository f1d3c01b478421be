from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from app.engine.models import attention as models_attention
from app.engine.models.attention import Kept, KeyValues, PackedAttention
from app.engine.models.layers import Rotary
from tests.profiles import examples

HEADS, KV_HEADS, HEAD_DIM = 4, 2, 8


def drawn(length: int, heads: int, seed: int) -> Tensor:
    return torch.randn(length, heads, HEAD_DIM, generator=torch.Generator().manual_seed(seed))


def qkv(length: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    return drawn(length, HEADS, seed), drawn(length, KV_HEADS, seed + 1), drawn(length, KV_HEADS, seed + 2)


def attention(positions: Tensor, lengths: list[int], kept: tuple[Kept | None, ...] = ()) -> PackedAttention:
    return PackedAttention(Rotary(HEAD_DIM, 1e4), positions, lengths, kept)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 6), st.integers(0, 3))
def test_a_window_attends_to_what_is_kept_around_it(before: int, inside: int, behind: int, num_filling: int) -> None:
    total = before + inside + behind
    q, k, v = qkv(total)
    store = KeyValues()
    whole = attention(torch.arange(total), [total], (Kept(store, fills=True),))(q, k, v)
    assert len(store) == total
    window = slice(before, before + inside)
    parts = [torch.cat((x[window], x.new_ones(num_filling, *x.shape[1:]))) for x in (q, k, v)]
    positions = torch.cat((torch.arange(before, before + inside), torch.zeros(num_filling, dtype=torch.long)))
    kept = Kept(store, start=before, num_behind=behind)
    attended = attention(positions, [inside], (kept,))(*parts)
    torch.testing.assert_close(attended[:inside], whole[window], atol=1e-5, rtol=1e-4)
    assert not attended[inside:].any()


def test_fresh_keys_take_the_place_of_kept_ones() -> None:
    (q, k, v), (_, fresh_k, fresh_v) = qkv(6), qkv(6, seed=9)
    store = KeyValues()
    attention(torch.arange(6), [6], (Kept(store, fills=True),))(q, k, v)
    mixed_k, mixed_v = (torch.cat((old[:2], new[2:4], old[4:])) for old, new in ((k, fresh_k), (v, fresh_v)))
    expected = attention(torch.arange(6), [6])(q, mixed_k, mixed_v)
    for start, end in ((2, 4), (4, 6)):  # the second window finds what the first one left
        kept = Kept(store, start=start, num_behind=6 - end)
        fresh = (fresh_k, fresh_v) if start == 2 else (k, v)
        window = attention(torch.arange(start, end), [end - start], (kept,))(
            q[start:end], *(x[start:end] for x in fresh)
        )
        torch.testing.assert_close(window, expected[start:end], atol=1e-5, rtol=1e-4)


def test_what_is_behind_a_window_is_turned_to_its_new_place() -> None:
    (q, k, v), (new_q, new_k, new_v) = qkv(7), qkv(5, seed=9)
    store = KeyValues()
    attention(torch.arange(7), [7], (Kept(store, fills=True),))(q, k, v)
    longer_k, longer_v = (torch.cat((old[:2], new, old[5:])) for old, new in ((k, new_k), (v, new_v)))
    longer_q = torch.cat((q[:2], new_q, q[5:]))
    expected = attention(torch.arange(9), [9])(longer_q, longer_k, longer_v)
    window = attention(torch.arange(2, 7), [5], (Kept(store, start=2, num_behind=2),))(new_q, new_k, new_v)
    torch.testing.assert_close(window, expected[2:7], atol=1e-5, rtol=1e-4)


def test_each_layer_has_its_own_keys() -> None:
    layers = [qkv(4, seed) for seed in (0, 10)]
    store = KeyValues()
    filling = attention(torch.arange(4), [4], (Kept(store, fills=True),))
    whole = [filling(*layer) for layer in layers]
    window = attention(torch.arange(1, 3), [2], (Kept(store, start=1, num_behind=1),))
    for layer, expected in zip(layers, whole, strict=True):
        part = window(*(x[1:3] for x in layer))
        torch.testing.assert_close(part, expected[1:3], atol=1e-5, rtol=1e-4)


def test_sequences_with_and_without_a_window_share_a_pass() -> None:
    plain, windowed = qkv(5, seed=3), qkv(4, seed=7)
    store = KeyValues()
    whole = attention(torch.arange(4), [4], (Kept(store, fills=True),))(*windowed)
    together = [torch.cat((a, b[1:3])) for a, b in zip(plain, windowed, strict=True)]
    positions = torch.cat((torch.arange(5), torch.arange(1, 3)))
    attended = attention(positions, [5, 2], (None, Kept(store, start=1, num_behind=1)))(*together)
    torch.testing.assert_close(attended[:5], attention(torch.arange(5), [5])(*plain))
    torch.testing.assert_close(attended[5:], whole[1:3], atol=1e-5, rtol=1e-4)


@examples(40)
@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 30), st.integers(1, 4))
def test_a_window_that_finds_no_room_half_way_changes_no_layer(
    length: int, num_behind: int, strikes_at: int, num_layers: int
) -> None:
    store, rotary, total = KeyValues(), Rotary(HEAD_DIM, 1e4), 3 + 4 + num_behind
    attend = attention(torch.arange(total), [total], (Kept(store, fills=True),))
    for layer in range(num_layers):
        attend(*qkv(total, seed=layer))
    before = [layer.clone() for kept in (store._keys, store._rotated, store._values) for layer in kept]
    with pytest.MonkeyPatch.context() as patch:
        countdown = iter(range(strikes_at, -1, -1))

        def strike(*args: Any) -> Tensor:
            if next(countdown, 1) == 0:
                raise torch.OutOfMemoryError
            return with_room(*args)

        with_room = models_attention._with_room
        patch.setattr(models_attention, "_with_room", strike)
        with suppress(torch.OutOfMemoryError):
            store.resize(3, length, num_behind, rotary)
            return
    store.check("w", num_layers)
    after = [layer for kept in (store._keys, store._rotated, store._values) for layer in kept]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    store.resize(3, length, num_behind, rotary)
    store.check("w", num_layers)
    assert len(store) == 3 + length + num_behind
