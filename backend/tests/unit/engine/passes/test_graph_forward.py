from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException as OrtError

from app.engine.cache.span import WHOLE, ComputedSpan
from app.engine.cache.store import KeyValues
from app.engine.models.qwen import Qwen
from app.engine.passes import graph_forward
from app.engine.passes.graph_builder import GraphSession
from app.engine.passes.graph_forward import GraphForward
from app.engine.passes.graphs import PassGraph
from app.engine.passes.layout import Part
from app.engine.passes.module_forward import ModuleForward
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput
from tests.profiles import examples
from tests.unit.engine.checkpoints import CHECKPOINTS, small_dream, small_llada

SHARED = small_dream(num_hidden_layers=2)
VARIABLE = small_dream(num_hidden_layers=2, expand_token_id=9)


@cache
def of_llada() -> GraphForward:
    return GraphForward(small_llada(d_model=64, mlp_hidden_size=96, max_sequence_length=512))


@cache
def of_fixed_length() -> tuple[GraphForward, ModuleForward]:
    return GraphForward(SHARED), ModuleForward(SHARED)


@cache
def of_variable_length() -> tuple[GraphForward, ModuleForward]:
    return GraphForward(VARIABLE), ModuleForward(VARIABLE)


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


@torch.inference_mode()
def test_norms_of_queries_and_keys_and_heads_wider_than_the_states_are_not_forgotten() -> None:
    torch.manual_seed(0)
    model = Qwen(replace(SHARED.config, qk_norms=True, head_dim=6)).requires_grad_(False)
    for weight in model.parameters():
        weight.normal_()
    sequences = [SequenceInput(range(1, 9), [3, 7]), SequenceInput(range(10), range(10))]
    assert_same(GraphForward(model).logits(sequences), ModuleForward(model).logits(sequences))


@examples(40)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=4), st.data())
@torch.inference_mode()
def test_spans_that_grow_and_shrink_give_the_same_results_as_the_modules(
    sizes: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Several sequences at once, each with text before, inside and behind its span, of three lengths in turn."""
    graphed, modules = of_variable_length()
    for step in range(3):
        sequences = []
        for number, (before, inside, behind) in enumerate(sizes):
            inside += data.draw(st.integers(1, 4)) if step else 1
            new = data.draw(st.lists(st.integers(0, 9), min_size=inside, max_size=inside))
            ids = [*([1] * before), *new, *([2] * behind)]
            span = ComputedSpan((before, before + inside)) if step else WHOLE
            sequences.append(SequenceInput(ids, range(before + 1, before + inside), str(number), span))
        assert_same(graphed.logits(sequences), modules.logits(sequences))


@examples(30)
@given(st.lists(st.integers(13, 30), min_size=1, max_size=4), st.data())
@torch.inference_mode()
def test_spans_that_move_on_leave_refreshed_keys_behind(sizes: list[int], data: st.DataObject) -> None:
    """As decoding in blocks does it: each block first with the one before it. Some sequences are a block ahead."""
    graphed, modules = of_fixed_length()
    ahead = [data.draw(st.booleans()) for _ in sizes]
    for step, bounds in enumerate([None, (2, 5), (2, 8), (5, 8), (5, 11), (8, 11), (8, 13)]):
        sequences = []
        for number, (size, is_ahead) in enumerate(zip(sizes, ahead, strict=True)):
            moved = bounds if bounds is None or not is_ahead else (bounds[0] + 2, bounds[1] + 2)
            ids = data.draw(st.lists(st.integers(0, 9), min_size=size + 2, max_size=size + 2))
            wanted = range((moved or (2, 8))[0] + 1, (moved or (2, 8))[1])
            sequences.append(SequenceInput(ids, wanted, str(number), ComputedSpan(moved, step in (2, 4, 6))))
        assert_same(graphed.logits(sequences), modules.logits(sequences))


@given(st.integers(1, 80), st.lists(st.integers(1, 80), max_size=5), st.integers(0, 99))
@torch.inference_mode()
def test_a_sequence_gives_the_same_bits_in_any_batch(length: int, others: list[int], seed: int) -> None:
    random = Random(seed)

    def drawn(size: int) -> SequenceInput:
        return SequenceInput(random.choices(range(12), k=size), range(size))

    sequence, batch = drawn(length), [drawn(size) for size in others]
    together = of_llada().logits([*batch, sequence])
    assert torch.equal(of_llada().logits([sequence]), together[sum(others) :])


@examples(40)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), min_size=2, max_size=5), st.integers(0, 99))
@torch.inference_mode()
def test_a_span_gives_the_same_bits_in_any_batch(sizes: list[tuple[int, int]], seed: int) -> None:
    random = Random(seed)
    texts = [random.choices(range(12), k=around + inside) for around, inside in sizes]
    whole = [SequenceInput(ids, [0], str(number)) for number, ids in enumerate(texts)]
    spans = []
    for ids, (around, inside), sequence in zip(texts, sizes, whole, strict=True):
        start = around // 2
        span = ComputedSpan((start, start + inside))
        spans.append(SequenceInput(ids, range(start, start + inside), sequence.cache_name, span))
    of_llada().logits(whole)
    together = torch.split(of_llada().logits(spans), [inside for _, inside in sizes])
    for sequence, narrow, expected in zip(whole, spans, together, strict=True):
        of_llada().logits([sequence])
        assert torch.equal(of_llada().logits([narrow]), expected)


@torch.inference_mode()
def test_long_sequences_go_through_the_modules_and_their_spans_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_forward, "MAX_SCORE_BYTES", 4 * 2 * 20**2)  # twenty tokens
    graphed, modules = GraphForward(SHARED), ModuleForward(SHARED)
    texts = {"long": [1, 2, 3] * 8, "short": [4, 5, 6]}
    whole = [SequenceInput(ids, [2], name) for name, ids in texts.items()]
    assert_same(graphed.logits(whole), modules.logits(whole))
    assert graphed._modules.cached_names() == {"long"}
    assert "short" in graphed._lanes
    spans = [SequenceInput(ids, [2], name, ComputedSpan((1, 3))) for name, ids in texts.items()]
    assert_same(graphed.logits(spans[::-1]), modules.logits(spans[::-1]))
    # It has become short, is filled anew, and moves.
    again = [SequenceInput([1, 2, 3], [2], "long")]
    assert_same(graphed.logits(again), modules.logits(again))
    assert not graphed._modules.cached_names()
    graphed.forget("long")
    assert "long" not in graphed._lanes


@torch.inference_mode()
def test_a_broken_sequence_does_not_affect_others_in_its_pass() -> None:
    """Not a number spreads to whatever reads it."""
    model = small_llada(embedding_size=12, d_model=64, mlp_hidden_size=96)
    next(model.stack().embedding.parameters())[7] = torch.nan
    graphed = GraphForward(model)
    broken, sound = SequenceInput([7] * 20, [3], "a"), SequenceInput([1] * 17, [3], "b")
    alone = graphed.logits([sound])
    for sequences in ([broken, sound], [sound, broken]):
        logits = graphed.logits(sequences)
        assert torch.equal(logits[sequences.index(sound)], alone[0])
        assert logits[sequences.index(broken)].isnan().all()
    spans = [SequenceInput(s.ids, [3], s.cache_name, ComputedSpan((2, 6))) for s in (broken, sound)]
    together = graphed.logits(spans)
    assert torch.equal(together[1], graphed.logits(spans[1:])[0])
    assert together[0].isnan().all()


@examples(4)
@given(st.lists(st.sampled_from(["short", "long", "span"]), min_size=2, max_size=8), st.integers(0, 99))
@torch.inference_mode()
def test_a_span_reads_the_last_whole_pass_whichever_way_that_was_computed(moves: list[str], seed: int) -> None:
    """A canvas that grows is computed by graphs at one time and by modules at another."""
    random = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_forward, "MAX_SCORE_BYTES", 4 * 2 * 20**2)  # twenty tokens
        graphed, modules = of_variable_length()
        for each in of_variable_length():
            for name in each.cached_names():
                each.forget(name)
        ids = random.choices(range(9), k=10)
        for move in ["short", *moves]:
            if move != "span":
                ids = random.choices(range(9), k=10 if move == "short" else 30)
            inside = random.choices(range(9), k=random.randint(1, 6))
            now = ids if move != "span" else [*ids[:3], *inside, *ids[-4:]]
            span = WHOLE if move != "span" else ComputedSpan((3, 3 + len(inside)))
            sequence = SequenceInput(now, [4], "w", span)
            assert_same(graphed.logits([sequence]), modules.logits([sequence]))
            assert graphed.cached_names() == {"w"}


@torch.inference_mode()
def test_a_pass_that_fails_in_its_last_part_has_cached_nothing_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed, modules = GraphForward(VARIABLE), ModuleForward(VARIABLE)
    texts = {"a": [1, 2, 3, 4, 5], "b": [4] * 40}

    def sequences(length: int | None) -> list[SequenceInput]:
        spans = {name: None if length is None else (2, 2 + length * len(ids) // 5) for name, ids in texts.items()}
        return [
            SequenceInput([*ids[:2], *[7] * (span[1] - 2), *ids[-1:]] if span else ids, [3], name, ComputedSpan(span))
            for (name, ids), span in zip(texts.items(), spans.values(), strict=True)
        ]

    for each in (graphed, modules):
        each.logits(sequences(None))
    with monkeypatch.context() as patch:
        run, counted = PassGraph.run, iter(range(2))

        def fail(self: PassGraph, *args: Any) -> Any:
            if next(counted) == 1:
                raise MemoryError
            return run(self, *args)

        patch.setattr(PassGraph, "run", fail)
        with pytest.raises(MemoryError):
            graphed.logits(sequences(3))
    assert graphed.cached_names() == {"a", "b"}
    assert_same(graphed.logits(sequences(2)), modules.logits(sequences(2)))


@torch.inference_mode()
def test_a_graph_for_which_there_was_no_room_is_built_later(monkeypatch: pytest.MonkeyPatch) -> None:
    graphed, modules = GraphForward(SHARED), ModuleForward(SHARED)
    whole, span = (SequenceInput([5] * 12, [4], "w", span) for span in (WHOLE, ComputedSpan((2, 8))))
    for each in (graphed, modules):
        each.logits([whole])
    with monkeypatch.context() as patch:
        patch.setattr(GraphSession, "__init__", out_of_memory)
        for _ in range(2):
            with pytest.raises(MemoryError, match="bad_alloc"):
                graphed.logits([span])
    assert (graphed.num_graphs, graphed.cached_names()) == (1, {"w"})
    assert_same(graphed.logits([span]), modules.logits([span]))
    assert graphed.num_graphs == 2


def out_of_memory(*_: object) -> None:
    raise OrtError("Exception during initialization: std::bad_alloc")


@torch.inference_mode()
def test_a_span_that_a_failed_pass_left_half_written_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """That span may be computed again; for any other one the whole canvas is."""
    modules, fresh, ids = ModuleForward(SHARED), ModuleForward(SHARED), list(range(12))
    modules.logits([SequenceInput([5] * 12, [4], "w")])
    with monkeypatch.context() as patch:
        write, counted = KeyValues.write, iter(range(2))

        def fail(self: KeyValues, *args: Any) -> Any:
            if next(counted) == 1:
                raise torch.OutOfMemoryError
            return write(self, *args)

        patch.setattr(KeyValues, "write", fail)
        with pytest.raises(torch.OutOfMemoryError):
            modules.logits([SequenceInput(ids, [4], "w", ComputedSpan((3, 6), stores=True))])
    other = SequenceInput(ids, [7], "w", ComputedSpan((6, 9)))
    assert_same(modules.logits([other]), fresh.logits([SequenceInput(ids, [7])]))
    assert modules.cached_names() == {"w"}


def test_sequences_share_a_pass_where_filling_them_up_wastes_little() -> None:
    """The numbers are those in the docstring of `_groups`."""

    def sizes(*lengths: int) -> list[list[int]]:
        entries = [
            graph_forward._Entry(index, SequenceInput(range(n), []), Part(range(n), range(n), []))
            for index, n in enumerate(lengths)
        ]
        return [[lengths[entry.index] for entry in group] for group in graph_forward._groups(entries, 10**9)]

    assert sizes(10, 12, 60) == [[10, 12, 60]]
    assert sizes(10, 100) == [[10], [100]]
