from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from app.engine.models.attention import Kept, KeyValues, PackedAttention
from app.engine.models.layers import Rotary

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


def test_fresh_keys_take_the_place_of_kept_ones_and_the_store_stays_as_it_was() -> None:
    (q, k, v), (_, fresh_k, fresh_v) = qkv(6), qkv(6, seed=9)
    store = KeyValues()
    attention(torch.arange(6), [6], (Kept(store, fills=True),))(q, k, v)
    mixed_k, mixed_v = (torch.cat((old[:2], new[2:4], old[4:])) for old, new in ((k, fresh_k), (v, fresh_v)))
    expected = attention(torch.arange(6), [6])(q, mixed_k, mixed_v)
    kept = Kept(store, start=2, num_behind=2)
    window = attention(torch.arange(2, 4), [2], (kept,))(q[2:4], fresh_k[2:4], fresh_v[2:4])
    torch.testing.assert_close(window, expected[2:4], atol=1e-5, rtol=1e-4)
    assert torch.equal(store.keys[0], k)


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
