from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.models.attention import KeyValues
from app.engine.passes import graph_forward
from app.engine.passes.graph_forward import GraphForward
from app.engine.passes.graphs import PassGraph
from app.engine.passes.module_forward import ModuleForward
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput, Window
from tests.profiles import examples
from tests.unit.engine.checkpoints import CHECKPOINTS, small_dream, small_llada

GRAPHED = GraphForward(small_llada(d_model=64, mlp_hidden_size=96, max_sequence_length=512))
SHARED = small_dream(num_hidden_layers=2)
FIXED_LENGTH = GraphForward(SHARED), ModuleForward(SHARED)
VARIABLE = small_dream(num_hidden_layers=2, expand_token_id=9)
VARIABLE_LENGTH = GraphForward(VARIABLE), ModuleForward(VARIABLE)


def assert_same(left: torch.Tensor, right: torch.Tensor) -> None:
    torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CHECKPOINTS)
@torch.inference_mode()
def test_graphs_compute_what_the_modules_compute(name: str, runners: Mapping[str, ModelRunner]) -> None:
    model = runners[name].model
    ids = [(7 * index) % model.config.vocab_size for index in range(100)]
    sequences = [SequenceInput(ids[:length], [1, 3, length - 1]) for length in (7, 50, 100)]
    assert_same(GraphForward(model).logits(sequences), ModuleForward(model).logits(sequences))


@torch.inference_mode()
def test_biases_and_heads_that_share_keys_are_not_forgotten() -> None:
    sequences = [SequenceInput(range(1, 9), [3, 7]), SequenceInput(range(10), range(10))]
    assert_same(GraphForward(SHARED).logits(sequences), ModuleForward(SHARED).logits(sequences))


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=4), st.data())
@torch.inference_mode()
def test_windows_that_grow_and_shrink_see_what_those_of_the_modules_see(
    sizes: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Several sequences at once, each with text before, inside and behind its window, of three lengths in turn."""
    graphed, modules = VARIABLE_LENGTH
    for step in range(3):
        sequences = []
        for number, (before, inside, behind) in enumerate(sizes):
            inside += data.draw(st.integers(1, 4)) if step else 1
            new = data.draw(st.lists(st.integers(0, 9), min_size=inside, max_size=inside))
            ids = [*([1] * before), *new, *([2] * behind)]
            window = Window(str(number), (before, before + inside) if step else None)
            sequences.append(SequenceInput(ids, range(before + 1, before + inside), window))
        assert_same(graphed.logits(sequences), modules.logits(sequences))


@given(st.lists(st.integers(13, 30), min_size=1, max_size=4), st.data())
@torch.inference_mode()
def test_windows_that_move_on_leave_renewed_keys_behind(sizes: list[int], data: st.DataObject) -> None:
    """As decoding in blocks does it: each block first with the one before it. Some sequences are a block ahead."""
    graphed, modules = FIXED_LENGTH
    ahead = [data.draw(st.booleans()) for _ in sizes]
    for step, window in enumerate([None, (2, 5), (2, 8), (5, 8), (5, 11), (8, 11), (8, 13)]):
        sequences = []
        for number, (size, is_ahead) in enumerate(zip(sizes, ahead, strict=True)):
            span = window if window is None or not is_ahead else (window[0] + 2, window[1] + 2)
            ids = data.draw(st.lists(st.integers(0, 9), min_size=size + 2, max_size=size + 2))
            wanted = range((span or (2, 8))[0] + 1, (span or (2, 8))[1])
            sequences.append(SequenceInput(ids, wanted, Window(str(number), span, step in (2, 4, 6))))
        assert_same(graphed.logits(sequences), modules.logits(sequences))


@given(st.integers(1, 80), st.lists(st.integers(1, 80), max_size=5), st.integers(0, 99))
@torch.inference_mode()
def test_a_sequence_gives_the_same_bits_in_any_company(length: int, others: list[int], seed: int) -> None:
    random = Random(seed)

    def drawn(size: int) -> SequenceInput:
        return SequenceInput(random.choices(range(12), k=size), range(size))

    sequence, company = drawn(length), [drawn(size) for size in others]
    together = GRAPHED.logits([*company, sequence])
    assert torch.equal(GRAPHED.logits([sequence]), together[sum(others) :])


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), min_size=2, max_size=5), st.integers(0, 99))
@torch.inference_mode()
def test_a_window_gives_the_same_bits_in_any_company(sizes: list[tuple[int, int]], seed: int) -> None:
    random = Random(seed)
    texts = [random.choices(range(12), k=around + inside) for around, inside in sizes]
    whole = [SequenceInput(ids, [0], Window(str(number))) for number, ids in enumerate(texts)]
    windows = []
    for ids, (around, inside), sequence in zip(texts, sizes, whole, strict=True):
        start = around // 2
        assert sequence.window is not None
        window = Window(sequence.window.name, (start, start + inside))
        windows.append(SequenceInput(ids, range(start, start + inside), window))
    GRAPHED.logits(whole)
    together = torch.split(GRAPHED.logits(windows), [inside for _, inside in sizes])
    for sequence, narrow, expected in zip(whole, windows, together, strict=True):
        GRAPHED.logits([sequence])
        assert torch.equal(GRAPHED.logits([narrow]), expected)


@torch.inference_mode()
def test_long_sequences_go_through_the_modules_and_their_windows_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_forward, "MAX_SCORE_BYTES", 4 * 2 * 20**2)  # twenty tokens
    graphed, modules = GraphForward(SHARED), ModuleForward(SHARED)
    texts = {"long": [1, 2, 3] * 8, "short": [4, 5, 6]}
    whole = [SequenceInput(ids, [2], Window(name)) for name, ids in texts.items()]
    assert_same(graphed.logits(whole), modules.logits(whole))
    assert graphed._modules.keeps("long")
    assert "short" in graphed._kept
    windows = [SequenceInput(ids, [2], Window(name, (1, 3))) for name, ids in texts.items()]
    assert_same(graphed.logits(windows[::-1]), modules.logits(windows[::-1]))
    # It has become short, is filled anew, and moves.
    again = [SequenceInput([1, 2, 3], [2], Window("long"))]
    assert_same(graphed.logits(again), modules.logits(again))
    assert not graphed._modules.keeps("long")
    graphed.forget("long")
    assert "long" not in graphed._kept


@torch.inference_mode()
def test_a_broken_sequence_leaves_the_others_of_its_pass_alone() -> None:
    """Not a number spreads to whatever reads it."""
    model = small_llada(embedding_size=12, d_model=64, mlp_hidden_size=96)
    next(model.stack().embedding.parameters())[7] = torch.nan
    graphed = GraphForward(model)
    broken, sound = SequenceInput([7] * 20, [3], Window("a")), SequenceInput([1] * 17, [3], Window("b"))
    alone = graphed.logits([sound])
    for sequences in ([broken, sound], [sound, broken]):
        told = graphed.logits(sequences)
        assert torch.equal(told[sequences.index(sound)], alone[0])
        assert told[sequences.index(broken)].isnan().all()
    windows = [SequenceInput(s.ids, [3], Window(w, (2, 6))) for s, w in ((broken, "a"), (sound, "b"))]
    together = graphed.logits(windows)
    assert torch.equal(together[1], graphed.logits(windows[1:])[0])
    assert together[0].isnan().all()


@examples(8)
@given(st.lists(st.sampled_from(["short", "long", "window"]), min_size=2, max_size=8), st.integers(0, 99))
@torch.inference_mode()
def test_a_window_looks_at_the_last_whole_pass_whichever_way_that_went(moves: list[str], seed: int) -> None:
    """A canvas that grows is computed by graphs at one time and by modules at another."""
    random = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_forward, "MAX_SCORE_BYTES", 4 * 2 * 20**2)  # twenty tokens
        graphed, modules = VARIABLE_LENGTH
        for each in VARIABLE_LENGTH:
            for name in each.kept_names():
                each.forget(name)
        ids = random.choices(range(9), k=10)
        for move in ["short", *moves]:
            if move != "window":
                ids = random.choices(range(9), k=10 if move == "short" else 30)
            inside = random.choices(range(9), k=random.randint(1, 6))
            now = ids if move != "window" else [*ids[:3], *inside, *ids[-4:]]
            window = Window("w", None if move != "window" else (3, 3 + len(inside)))
            sequence = SequenceInput(now, [4], window)
            assert_same(graphed.logits([sequence]), modules.logits([sequence]))
            assert graphed.kept_names() == {"w"}


@torch.inference_mode()
def test_a_pass_that_fails_in_its_last_part_has_kept_nothing_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed, modules = GraphForward(VARIABLE), ModuleForward(VARIABLE)
    texts = {"a": [1, 2, 3, 4, 5], "b": [4] * 40}

    def windows(length: int | None) -> list[SequenceInput]:
        spans = {name: None if length is None else (2, 2 + length * len(ids) // 5) for name, ids in texts.items()}
        return [
            SequenceInput([*ids[:2], *[7] * (span[1] - 2), *ids[-1:]] if span else ids, [3], Window(name, span))
            for (name, ids), span in zip(texts.items(), spans.values(), strict=True)
        ]

    for each in (graphed, modules):
        each.logits(windows(None))
    with monkeypatch.context() as patch:
        run, counted = PassGraph.run, iter(range(2))

        def fail(self: PassGraph, *args: Any) -> Any:
            if next(counted) == 1:
                raise MemoryError
            return run(self, *args)

        patch.setattr(PassGraph, "run", fail)
        with pytest.raises(MemoryError):
            graphed.logits(windows(3))
    assert graphed.kept_names() == {"a", "b"}
    assert_same(graphed.logits(windows(2)), modules.logits(windows(2)))


@torch.inference_mode()
def test_a_window_that_a_failed_pass_left_half_written_is_no_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same window may be computed again; for any other one the whole canvas is."""
    modules, fresh, ids = ModuleForward(SHARED), ModuleForward(SHARED), list(range(12))
    modules.logits([SequenceInput([5] * 12, [4], Window("w"))])
    with monkeypatch.context() as patch:
        renew, counted = KeyValues.renew, iter(range(2))

        def fail(self: KeyValues, *args: Any) -> Any:
            if next(counted) == 1:
                raise torch.OutOfMemoryError
            return renew(self, *args)

        patch.setattr(KeyValues, "renew", fail)
        with pytest.raises(torch.OutOfMemoryError):
            modules.logits([SequenceInput(ids, [4], Window("w", (3, 6), renews=True))])
    other = SequenceInput(ids, [7], Window("w", (6, 9)))
    assert_same(modules.logits([other]), fresh.logits([SequenceInput(ids, [7])]))
    assert modules.kept_names() == {"w"}
