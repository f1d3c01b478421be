from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from app.engine.cache import growing
from app.engine.cache.growing import GrowingKeyValues

LAYERS, HEADS, HEAD_DIM = 2, 3, 2


def states_of(tokens: list[int], layer: int) -> Tensor:
    """Keys that tell whose they are: of token t in layer l all 1000 l + t."""
    return (torch.tensor(tokens, dtype=torch.float32)[:, None, None] + 1000 * layer).expand(-1, HEADS, HEAD_DIM)


def run_pass(store: GrowingKeyValues, start: int, tokens: list[int], num_layers: int = LAYERS) -> list[Tensor]:
    """The keys that each layer of a pass reads."""
    store.open(start, len(tokens))
    written = [store.write(layer, states_of(tokens, layer), -states_of(tokens, layer)) for layer in range(num_layers)]
    for keys, values in written:
        assert torch.equal(keys, -values)
    return [keys for keys, _ in written]


passes = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 90), st.floats(0, 1), st.booleans()), max_size=12)


@given(passes)
def test_a_pass_reads_what_was_cached_and_what_it_computes(moves: list[tuple[int, int, float, bool]]) -> None:
    """Some passes begin behind a part of what is cached, and some fail in the second layer."""
    store, cached, next_token = GrowingKeyValues(), list[int](), 1
    for back, size, share, fails in moves:
        start = max(len(cached) - back, 0) if cached else 0
        tokens = list(range(next_token, next_token + size))
        next_token += size
        if fails and cached:
            run_pass(store, start, tokens, num_layers=1)
            tokens = [token + 5 for token in tokens]  # the pass is run again, and is another one
        for layer, keys in enumerate(run_pass(store, start, tokens)):
            assert torch.equal(keys, states_of([*cached[:start], *tokens], layer))
        cached = [*cached[:start], *tokens][: start + int(share * size)]
        store.close(len(cached))
        store.check("a", LAYERS)
        assert len(store) == len(cached)
        for layer, (keys, values) in enumerate(store.layers()):
            assert torch.equal(keys, states_of(cached, layer))
            assert torch.equal(values, -states_of(cached, layer))


def test_a_store_that_finds_no_room_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    store = GrowingKeyValues()
    run_pass(store, 0, list(range(60)))
    store.close(60)

    def fail_for_values(x: Tensor, length: int, room: int) -> Tensor:
        if float(x[1, 0, 0]) < 0:
            raise MemoryError
        return x.clone()

    monkeypatch.setattr(growing, "_grown", fail_for_values)
    with pytest.raises(MemoryError):
        store.open(60, 500)
    monkeypatch.undo()
    assert torch.equal(run_pass(store, 60, [7])[1], states_of([*range(60), 7], 1))


def test_a_copy_shares_nothing() -> None:
    store = GrowingKeyValues()
    run_pass(store, 0, [1, 2, 3])
    store.close(2)
    copy = GrowingKeyValues.of(store.layers(), torch.device("cpu"), torch.float32)
    run_pass(store, 0, [9, 9, 9])
    assert len(copy) == 2
    assert torch.equal(run_pass(copy, 2, [4])[0], states_of([1, 2, 4], 0))
