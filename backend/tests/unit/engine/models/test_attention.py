from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from app.engine.cache.store import KeyValues
from app.engine.models.attention import AttentionVariant, FillsCache, PackedAttention, ReadsCache
from app.engine.models.layers import Rotary

HEADS, KV_HEADS, HEAD_DIM = 4, 2, 8
ROTARY = Rotary(HEAD_DIM, 1e4)


def drawn(length: int, heads: int, seed: int) -> Tensor:
    return torch.randn(length, heads, HEAD_DIM, generator=torch.Generator().manual_seed(seed))


def qkv(length: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    return drawn(length, HEADS, seed), drawn(length, KV_HEADS, seed + 1), drawn(length, KV_HEADS, seed + 2)


def attention(
    positions: Tensor, lengths: list[int], variants: tuple[AttentionVariant | None, ...] = ()
) -> PackedAttention:
    return PackedAttention(ROTARY, positions, lengths, variants)


def reading(store: KeyValues, start: int, length: int, num_behind: int) -> ReadsCache:
    store.open(start, length, num_behind, ROTARY)
    return ReadsCache(store)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 6), st.integers(0, 3))
def test_a_span_attends_to_what_is_cached_around_it(before: int, inside: int, behind: int, num_filling: int) -> None:
    total = before + inside + behind
    q, k, v = qkv(total)
    store = KeyValues()
    whole = attention(torch.arange(total), [total], (FillsCache(store),))(q, k, v)
    assert len(store) == total
    span = slice(before, before + inside)
    parts = [torch.cat((x[span], x.new_ones(num_filling, *x.shape[1:]))) for x in (q, k, v)]
    positions = torch.cat((torch.arange(before, before + inside), torch.zeros(num_filling, dtype=torch.long)))
    attended = attention(positions, [inside], (reading(store, before, inside, behind),))(*parts)
    torch.testing.assert_close(attended[:inside], whole[span], atol=1e-5, rtol=1e-4)
    assert not attended[inside:].any()


def test_fresh_keys_replace_cached_ones() -> None:
    (q, k, v), (_, fresh_k, fresh_v) = qkv(6), qkv(6, seed=9)
    store = KeyValues()
    attention(torch.arange(6), [6], (FillsCache(store),))(q, k, v)
    mixed_k, mixed_v = (torch.cat((old[:2], new[2:4], old[4:])) for old, new in ((k, fresh_k), (v, fresh_v)))
    expected = attention(torch.arange(6), [6])(q, mixed_k, mixed_v)
    for start, end in ((2, 4), (4, 6)):  # the second span finds what the first one has stored
        fresh = (fresh_k, fresh_v) if start == 2 else (k, v)
        attended = attention(torch.arange(start, end), [end - start], (reading(store, start, end - start, 6 - end),))(
            q[start:end], *(x[start:end] for x in fresh)
        )
        store.close()
        torch.testing.assert_close(attended, expected[start:end], atol=1e-5, rtol=1e-4)


def test_keys_behind_a_span_are_rotated_to_their_current_position() -> None:
    (q, k, v), (new_q, new_k, new_v) = qkv(7), qkv(5, seed=9)
    store = KeyValues()
    attention(torch.arange(7), [7], (FillsCache(store),))(q, k, v)
    longer_k, longer_v = (torch.cat((old[:2], new, old[5:])) for old, new in ((k, new_k), (v, new_v)))
    longer_q = torch.cat((q[:2], new_q, q[5:]))
    expected = attention(torch.arange(9), [9])(longer_q, longer_k, longer_v)
    attended = attention(torch.arange(2, 7), [5], (reading(store, 2, 5, 2),))(new_q, new_k, new_v)
    torch.testing.assert_close(attended, expected[2:7], atol=1e-5, rtol=1e-4)


def test_each_layer_has_its_own_keys() -> None:
    layers = [qkv(4, seed) for seed in (0, 10)]
    store = KeyValues()
    filling = attention(torch.arange(4), [4], (FillsCache(store),))
    whole = [filling(*layer) for layer in layers]
    span = attention(torch.arange(1, 3), [2], (reading(store, 1, 2, 1),))
    for layer, expected in zip(layers, whole, strict=True):
        part = span(*(x[1:3] for x in layer))
        torch.testing.assert_close(part, expected[1:3], atol=1e-5, rtol=1e-4)


def test_sequences_with_and_without_a_cache_share_a_pass() -> None:
    plain, cached = qkv(5, seed=3), qkv(4, seed=7)
    store = KeyValues()
    whole = attention(torch.arange(4), [4], (FillsCache(store),))(*cached)
    together = [torch.cat((a, b[1:3])) for a, b in zip(plain, cached, strict=True)]
    positions = torch.cat((torch.arange(5), torch.arange(1, 3)))
    attended = attention(positions, [5, 2], (None, reading(store, 1, 2, 1)))(*together)
    torch.testing.assert_close(attended[:5], attention(torch.arange(5), [5])(*plain))
    torch.testing.assert_close(attended[5:], whole[1:3], atol=1e-5, rtol=1e-4)
