from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from app.engine.cache.span import ComputedSpan
from app.engine.decoding.adjustment import Adjustment
from app.engine.decoding.guidance import guide
from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.sampling import predict
from app.engine.interface.config import RuntimeName
from app.engine.interface.errors import OutOfDeviceMemory
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.attention import BlockCausal
from app.engine.models.base import FamilyModel
from app.engine.passes.divergence import LastDistributions
from app.engine.passes.graph_forward import GraphForward
from app.engine.passes.module_forward import ModuleForward
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput, Work
from app.engine.recovery import copied
from app.engine.request.life import Status
from app.engine.request.state import RequestState
from tests.conformance import traces
from tests.profiles import examples
from tests.unit.engine.checkpoints import BLOCK_CHECKPOINTS, BY_MODULES, CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests

RULES = LogitRules(Score.PROBABILITY, 0.0, None, None, scores_see_filters=False)
PENALTY = Adjustment(
    bias=((1, 2.0), (2, -2.0)),
    counts=tuple((token_id, 2) for token_id in range(0, 512, 2)),
    repetition_penalty=1.5,
    frequency_penalty=0.5,
)
checkpoints = pytest.mark.parametrize("name", [*CHECKPOINTS, *BY_MODULES])
BLOCK_RUNNERS = (*BLOCK_CHECKPOINTS, "sdar-tiny by modules")


def some_sequences(runner: ModelRunner) -> list[SequenceInput]:
    """Texts of different lengths with different numbers of wanted rows."""
    texts = [(*request.prefix, *request.suffix) for request in mixed_requests(runner.model.config, 1, 6)]
    return [SequenceInput(text, range(0, len(text), index % 3 + 1)) for index, text in enumerate(texts)]


@checkpoints
def test_wanted_rows_are_those_of_the_whole_pass(name: str, runners: Mapping[str, ModelRunner]) -> None:
    runner, ids = runners[name], torch.arange(5, 17)
    config = runner.model.config
    variants = [BlockCausal(0, 12, config.block_length, ids.device)] if config.block_length else []
    with torch.inference_mode():
        raw = runner.model.head(runner.model.hidden(ids, torch.arange(12), [12], variants=variants))
        wanted = runner.logits([SequenceInput(ids.tolist(), [0, 1, 7, 11])])
    shift = config.prediction_shift
    torch.testing.assert_close(wanted, raw[[0, 1 - shift, 7 - shift, 11 - shift]], atol=2e-5, rtol=1e-4)


@checkpoints
@torch.inference_mode()
def test_a_sequence_gives_the_same_bits_in_any_batch(name: str, runners: Mapping[str, ModelRunner]) -> None:
    runner = runners[name]
    sequences = some_sequences(runner)
    together = torch.split(runner.logits(sequences), [len(sequence.wanted) for sequence in sequences])
    for sequence, part in zip(sequences, together, strict=True):
        assert torch.equal(runner.logits([sequence]), part)


def test_no_sequences_and_no_rows_are_no_special_case(llada: ModelRunner) -> None:
    with torch.inference_mode():
        assert llada.logits([SequenceInput([5, 6], [])]).shape == (0, llada.model.config.vocab_size)
    assert llada.run([Work((SequenceInput([5, 6], []),), RULES)])[0].token_ids == []


def test_requests_of_different_rules_get_their_own_predictions(llada: ModelRunner) -> None:
    sequence = SequenceInput(range(5, 15), [2, 5, 9])
    uniforms = (0.1, 0.5, 0.9)
    works = [
        Work((sequence,), RULES),
        Work((sequence,), replace(RULES, temperature=1.0), uniforms=uniforms),
        Work((SequenceInput(range(20, 24), [0]),), RULES),
        Work((sequence,), replace(RULES, score=Score.MARGIN, top_k=5)),
        Work((sequence,), replace(RULES, temperature=1.0), uniforms=uniforms[::-1]),
        Work((sequence,), RULES, adjustment=PENALTY),
        Work((sequence, SequenceInput([7] * 10, [2, 5, 9])), RULES, guidance_scale=2.0),
    ]
    assert llada.run(works) == [llada.run([work])[0] for work in works]


def test_guidance_biases_and_penalties_are_applied_before_the_rules(llada: ModelRunner) -> None:
    sequences = (SequenceInput(range(5, 15), [3, 4]), SequenceInput([9] * 10, [3, 4]))
    work = Work(sequences, RULES, guidance_scale=1.5, adjustment=PENALTY)
    with torch.inference_mode():
        conditional, blind = llada.logits(sequences).chunk(2)
        logits = guide(conditional, blind, 1.5)
        token_ids, scores, confidences = predict(PENALTY.apply(logits), RULES, None).tolist()
    predicted = llada.run([work])[0]
    assert (predicted.token_ids, predicted.scores, predicted.confidences) == (token_ids, scores, confidences)


def test_memory_is_counted_from_the_weights_and_the_vocabulary(llada: ModelRunner) -> None:
    num_weights = sum(weight.numel() for weight in llada.model.parameters())
    assert ModelRunner(llada.model, cpu_runtime="torch").memory_bytes == 4 * num_weights
    runner = ModelRunner(llada.model)
    runner.logits([SequenceInput([5] * 10, [3], "a")])
    assert runner.memory_bytes == 2 * 4 * num_weights  # as modules and as the graph of whole canvases
    runner.logits([SequenceInput([5] * 10, [3], "a", ComputedSpan((2, 4)))])
    assert runner.memory_bytes == 3 * 4 * num_weights  # and as that of spans
    # At least the float32 logits and the float64 distribution that a token is drawn from.
    assert llada.footprint.bytes_per_row >= llada.model.config.vocab_size * (4 + 8)


def test_a_device_that_is_full_is_an_error_of_its_own(llada: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_device(*_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 3 TiB")

    monkeypatch.setattr(GraphForward, "logits", fill_the_device)
    with pytest.raises(OutOfDeviceMemory, match="a step of 1 requests did not fit cpu: tried to allocate 3 TiB"):
        llada.run([Work((SequenceInput([5], [0]),), RULES)])


# -- spans ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in (*CHECKPOINTS, *BY_MODULES) if name not in BLOCK_RUNNERS])
@torch.inference_mode()
def test_a_span_of_an_unchanged_canvas_gives_what_the_whole_pass_gives(
    name: str, runners: Mapping[str, ModelRunner]
) -> None:
    runner, ids, wanted = runners[name], list(range(5, 45)), [20, 23, 25]
    whole = runner.logits([SequenceInput(ids, wanted, "w")])
    shift = runner.model.config.prediction_shift
    again = runner.logits([SequenceInput(ids, wanted, "w", ComputedSpan((20 - shift, 28)))])
    torch.testing.assert_close(again, whole, atol=2e-5, rtol=1e-4)
    runner.forget("w")


@pytest.mark.parametrize("name", BLOCK_RUNNERS)
@examples(10, HealthCheck.function_scoped_fixture)
@given(st.data())
@torch.inference_mode()
def test_blocks_beside_their_exact_cache_give_what_the_whole_text_gives(
    name: str, runners: Mapping[str, ModelRunner], data: st.DataObject
) -> None:
    """Some steps of each block: the first computes the block before too and caches it. Tokens of the open block
    change between them, those of finished blocks do not."""
    runner, length = runners[name], data.draw(st.integers(1, 6))
    shift, num_blocks = runner.model.config.prediction_shift, data.draw(st.integers(1, 60 // length))
    ids = data.draw(st.lists(st.integers(5, 400), min_size=num_blocks * length, max_size=num_blocks * length))
    start = 0
    for end in range(length * data.draw(st.integers(1, num_blocks)), num_blocks * length + 1, length):
        for _ in range(data.draw(st.integers(1, 2))):
            ids[end - length : end] = data.draw(st.lists(st.integers(5, 400), min_size=length, max_size=length))
            wanted = range(max(end - length, start) + shift, end)
            span = ComputedSpan((start, end), cached_to=end - length)
            beside = runner.logits([SequenceInput(ids[:end], wanted, "w", span, length)])
            whole = runner.logits([SequenceInput(ids[:end], wanted, block_length=length)])
            torch.testing.assert_close(beside, whole, atol=5e-4, rtol=1e-3)
            start = end - length
    runner.forget("w")


@pytest.mark.parametrize("runtime", ["auto", "torch"])
@torch.inference_mode()
def test_keys_behind_a_span_move_with_its_length(runtime: RuntimeName, runners: Mapping[str, ModelRunner]) -> None:
    """In the first layer keys and values depend on token and place alone, so a model cut down to it shows no error
    of what is cached: only whether cached keys were turned to where their tokens stand now."""
    model, before, behind = runners["dreamon-tiny"].model, list(range(5, 25)), list(range(60, 80))
    start = 20 - model.config.prediction_shift
    cut = copied(model, torch.device("cpu"), torch.float32)
    _keep_first_layer(cut)
    short = ModelRunner(cut, cpu_runtime=runtime)
    short.logits([SequenceInput([*before, 30, 31, 32, *behind], [20], "w")])
    longer, wanted = [*before, 30, 40, 41, 42, 32, *behind], range(20, 25)
    exact = short.logits([SequenceInput(longer, wanted)])
    by_span = short.logits([SequenceInput(longer, wanted, "w", ComputedSpan((start, 25)))])
    torch.testing.assert_close(by_span, exact, atol=2e-5, rtol=1e-4)


def _keep_first_layer(model: FamilyModel) -> None:
    layers = next(module for module in model.modules() if isinstance(module, torch.nn.ModuleList))
    del layers[1:]


@torch.inference_mode()
def test_a_sequence_of_which_nothing_is_cached_is_computed_whole(llada: ModelRunner) -> None:
    ids = list(range(5, 45))
    whole = llada.logits([SequenceInput(ids, [21])])
    assert torch.equal(llada.logits([SequenceInput(ids, [21], "new", ComputedSpan((20, 28)))]), whole)
    llada.forget("new")


@checkpoints
@torch.inference_mode()
def test_a_span_gives_the_same_bits_in_any_batch(name: str, runners: Mapping[str, ModelRunner]) -> None:
    runner, ids = runners[name], list(range(5, 45))
    runner.logits([SequenceInput(ids, [21], "w")])
    ids[22], ids[24] = 50, 51
    span = SequenceInput(ids, [21, 23], "w", ComputedSpan((19, 30)))
    others = some_sequences(runner)
    together = runner.logits([others[0], span, *others[1:]])
    start = len(others[0].wanted)
    assert torch.equal(runner.logits([span]), together[start : start + 2])
    runner.forget("w")


def test_blocks_that_begin_with_the_one_before_cache_its_keys(runners: Mapping[str, ModelRunner]) -> None:
    """The modules write what every span computes where the cached keys are, the graphs only what is to be stored."""
    params = DecodingParams(32, block_length=4, cache="dual", cache_refresh=9)
    requests = [GenerationRequest(str(seed), tuple(range(5 + seed, 25)), (), params) for seed in range(8)]
    graphed, modules = (
        traces.run(runners[name], requests, together=True) for name in ("llada-tiny", "llada-tiny by modules")
    )
    assert [trace.canvases for trace in graphed] == [trace.canvases for trace in modules]


def test_a_request_leaves_nothing_behind(runners: Mapping[str, ModelRunner]) -> None:
    for runner in runners.values():
        requests = mixed_requests(runner.model.config, seed=11, count=6)
        traces.run(runner, requests, together=True)
        forward = runner._forward
        if isinstance(forward, GraphForward):
            assert forward._lanes._lanes == {}
            forward = forward._modules
        assert isinstance(forward, ModuleForward)
        assert forward._cached == {}


# -- more than a token per position -----------------------------------------------------------------------------------


@torch.inference_mode()
def test_a_revisable_token_is_judged_by_what_the_rest_says_of_its_position(llada: ModelRunner) -> None:
    """In the first layer nothing has seen anything yet, so a model cut down to it must give what a mask in the token's
    place gives."""
    cut = copied(llada.model, torch.device("cpu"), torch.float32)
    _keep_first_layer(cut)
    short, ids, mask = ModelRunner(cut), list(range(5, 25)), cut.config.special.mask
    judged = short.logits([SequenceInput(ids, [2], revisable=[7, 12])])
    expected = [short.logits([SequenceInput(ids, [2])])]
    for position in (7, 12):
        expected.append(short.logits([SequenceInput([*ids[:position], mask, *ids[position + 1 :]], [position])]))
    torch.testing.assert_close(judged, torch.cat(expected), atol=2e-5, rtol=1e-4)


def test_support_is_the_probability_of_the_revisable_tokens(llada: ModelRunner) -> None:
    sequence = SequenceInput(range(5, 25), [2, 3], revisable=[7, 12])
    plain = Work((SequenceInput(range(5, 25), [2, 3]),), RULES)
    with_support, alone = llada.run([Work((sequence,), RULES, revisable_ids=(12, 17)), plain])
    with torch.inference_mode():
        probabilities = llada.logits([sequence])[2:].softmax(-1)
    assert with_support.support == pytest.approx([float(probabilities[0, 12]), float(probabilities[1, 17])])
    assert (with_support.token_ids, with_support.confidences) == (alone.token_ids, alone.confidences)


def test_divergences_are_counted_from_the_step_before(llada: ModelRunner) -> None:
    def step(ids: list[int], wanted: list[int]) -> list[float]:
        return llada.run([Work((SequenceInput(ids, wanted),), RULES, divergences_name="w")])[0].divergences

    def log_p(ids: list[int], position: int) -> torch.Tensor:
        with torch.inference_mode():
            return llada.logits([SequenceInput(ids, [position])])[0].log_softmax(-1)

    before, after = list(range(5, 17)), [*range(5, 16), 40]
    assert step(before, [2, 5]) == [float("inf")] * 2
    moved = step(after, [5, 7])
    p, q = log_p(after, 5), log_p(before, 5)
    assert moved == pytest.approx([float((p.exp() * (p - q)).sum()), float("inf")], rel=1e-3)
    assert step(after, [5]) == [pytest.approx(0.0, abs=1e-6)]
    llada.forget("w")
    assert step(after, [5]) == [float("inf")]


def test_a_step_that_is_run_again_finds_the_distributions_of_the_step_before() -> None:
    last = LastDistributions()
    before, after = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    last.divergences("w", [3], before)
    last.step_is_done()
    failed = last.divergences("w", [3], after)  # and something else of this step did not fit
    assert last.divergences("w", [3], after) == failed
    assert failed[0] > 0.1


def test_the_distributions_of_a_failed_step_are_not_used_as_the_previous_ones(
    llada: ModelRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two requests in one pass that fails after both were read, then one after the other."""

    def works(token_id: int) -> list[Work]:
        ids = [*range(5, 16), token_id]
        return [Work((SequenceInput(ids, [3]),), RULES, divergences_name=name) for name in ("a", "b")]

    llada.run(works(40))
    expected = llada.run(works(41))[0].divergences
    for name in ("a", "b"):
        llada.forget(name)
    llada.run(works(40))
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise torch.OutOfMemoryError

        patch.setattr(LastDistributions, "step_is_done", fail)
        with pytest.raises(OutOfDeviceMemory):
            llada.run(works(41))
    assert [llada.run([work])[0].divergences for work in works(41)] == [expected, expected]
    assert expected[0] > 0.01
    for name in ("a", "b"):
        llada.forget(name)
    assert not {"a", "b"} & llada.cached_names()


def _bytes_of_distributions(runner: ModelRunner) -> int:
    return sum(rows.nbytes for positions, rows in runner._last._last.values())


def test_admission_counts_the_distributions_that_are_cached_of_a_request(llada: ModelRunner) -> None:
    """At every moment of its life: those of the last step, and while a step runs its own beside them."""
    config = llada.model.config
    params = DecodingParams(8, block_length=4, confidence_threshold=0.9, stability_bound=0.1)
    state = RequestState(GenerationRequest("r", (5, 6), (), params), config, lambda event: None)
    for name in llada.cached_names():  # of tests before
        llada.forget(name)
    state.start()
    max_rows = state.need.max_distributions
    while state.status is Status.RUNNING:
        before = _bytes_of_distributions(llada)
        assert llada.footprint.cached(0, state.need.num_distributions) == before
        (predicted,) = llada.run([state.work])
        assert before + _bytes_of_distributions(llada) <= llada.footprint.cached(0, max_rows)
        state.advance(predicted)
    llada.forget("r")
    assert _bytes_of_distributions(llada) == 0
