from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from app.engine.cache import store as cache_store
from app.engine.cache.store import KeyValues
from app.engine.models.layers import Rotary
from tests.profiles import examples

ROTARY = Rotary(8, 1e4)


def tokens(length: int, seed: int) -> Tensor:
    return torch.randn(length, 2, 8, generator=torch.Generator().manual_seed(seed))


def filled(length: int, num_layers: int = 2) -> KeyValues:
    store = KeyValues()
    for layer in range(num_layers):
        store.fill(*(tokens(length, 10 * layer + kind) for kind in range(3)))
    return store


def contents(store: KeyValues) -> list[Tensor]:
    return [x.clone() for layer in store.layers() for x in layer]


def write(store: KeyValues, layer: int, length: int) -> None:
    store.write(layer, *(tokens(length, 50 + kind) for kind in range(3)))


@examples(40)
@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 30), st.integers(1, 4))
def test_a_span_that_finds_no_room_half_way_changes_no_layer(
    length: int, num_behind: int, strikes_at: int, num_layers: int
) -> None:
    store = filled(3 + 4 + num_behind, num_layers)
    before = contents(store)
    with pytest.MonkeyPatch.context() as patch:
        countdown = iter(range(strikes_at, -1, -1))

        def strike(*args: Any) -> Tensor:
            if next(countdown, 1) == 0:
                raise torch.OutOfMemoryError
            return with_room(*args)

        with_room = cache_store._with_room
        patch.setattr(cache_store, "_with_room", strike)
        with suppress(torch.OutOfMemoryError):
            store.open(3, length, num_behind, ROTARY)
            return
    store.check("w", num_layers)
    assert all(torch.equal(*pair) for pair in zip(before, contents(store), strict=True))
    assert store.holds(len(store), 0), "no span is open"
    store.open(3, length, num_behind, ROTARY)
    store.check("w", num_layers)
    assert len(store) == 3 + length + num_behind


@given(st.integers(0, 4), st.integers(1, 4), st.integers(0, 4), st.integers(0, 2))
def test_a_pass_that_fails_in_any_layer_leaves_what_is_around_its_span_as_it_was(
    before: int, inside: int, behind: int, num_written: int
) -> None:
    store = filled(before + inside + behind)
    expected = contents(store)
    store.open(before, inside, behind, ROTARY)
    for layer in range(num_written):
        write(store, layer, inside)
    for x, was in zip(contents(store), expected, strict=True):
        assert torch.equal(x[:before], was[:before])
        assert torch.equal(x[before + inside :], was[before + inside :])


def test_an_open_span_is_not_read_until_a_pass_that_stores_it_has_come_to_its_end() -> None:
    store = filled(8)
    assert store.holds(8, 0)
    store.open(3, 2, 3, ROTARY)
    write(store, 0, 2)  # and the second layer never comes
    assert store.holds(3, 3), "the same span, run again"
    assert store.holds(1, 2), "one that covers it"
    assert not store.holds(4, 3)
    assert not store.holds(3, 4)
    store.open(3, 2, 3, ROTARY)
    for layer in range(2):
        write(store, layer, 2)
    store.close()
    assert store.holds(5, 3)


def test_a_copy_shares_nothing_and_has_the_same_open_spans() -> None:
    store = filled(6)
    store.open(2, 2, 2, ROTARY)
    copy, expected = store.copied(torch.device("cpu"), torch.float32), contents(store)
    write(store, 0, 2)
    assert all(torch.equal(*pair) for pair in zip(contents(copy), expected, strict=True))
    assert not copy.holds(3, 2)


def test_written_text_is_where_the_drawing_in_the_module_shows_it() -> None:
    store = filled(8, num_layers=1)
    keys = next(store.layers())[0].clone()
    store.open(3, 2, 3, ROTARY)
    write(store, 0, 2)
    written = next(store.layers())[0]
    assert torch.equal(written, torch.cat((keys[:3], tokens(2, 50), keys[5:])))
    store.open(3, 3, 3, ROTARY)
    write(store, 0, 3)
    longer, rotated, _ = next(store.layers())
    assert torch.equal(longer, torch.cat((keys[:3], tokens(3, 50), keys[5:])))
    turned = ROTARY.rotate(keys[5:], *ROTARY.angles(torch.arange(6, 9)))
    torch.testing.assert_close(rotated[6:], turned)
