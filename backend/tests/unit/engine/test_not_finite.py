"""NaN and infinity in the logits of one request end that request, and are nothing to the others."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.sampling import draw, predict
from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig, RuntimeName
from app.engine.interface.errors import EngineError, LogitsNotFinite
from app.engine.interface.events import EngineEvent, Failed, Finished, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes import graphs
from app.engine.passes.graph_builder import Array, GraphSession
from app.engine.passes.graph_forward import GraphForward
from app.engine.passes.runner import ModelRunner
from app.engine.passes.work import SequenceInput, Work
from app.engine.request.state import RequestState
from tests.profiles import examples
from tests.unit.engine.checkpoints import small_llada
from tests.unit.engine.mixture import mixed_requests

BROKEN = [torch.nan, torch.inf, -torch.inf]
RULES = LogitRules(Score.PROBABILITY, 0.0, None, None, scores_see_filters=False)


class BreakingRunner(ModelRunner):
    """Puts a value into the logits of one request's sequences, in one of its steps."""

    value, step = 0.0, 0
    _num_steps = 0
    _rows: Sequence[slice] = ()

    def breaking(self, value: float, step: int) -> BreakingRunner:
        self.value, self.step, self._num_steps = value, step, 0
        return self

    def run(self, works: Sequence[Work]) -> Any:
        rows, start = [], 0
        for work in works:
            if work.sequences[0].ids[0] == 7 and work.num_rows:
                self._num_steps += 1
                if self._num_steps == self.step:
                    rows.append(slice(start, start + work.num_rows))
            start += work.num_rows
        self._rows = rows
        return super().run(works)

    def logits(self, sequences: Sequence[SequenceInput]) -> torch.Tensor:
        logits = super().logits(sequences).clone()
        for rows in self._rows:
            logits[rows.stop - 1, 11] = self.value  # the last row: of guidance, of doubt, of a candidate length
        return logits


@pytest.fixture(scope="module")
def breaking(runners: Mapping[str, ModelRunner]) -> Mapping[tuple[str, RuntimeName], BreakingRunner]:
    kinds: list[tuple[str, RuntimeName]] = [(f"{name}-tiny", "auto") for name in ("llada", "dream", "dreamon")]
    kinds.append(("llada-tiny", "torch"))
    return {kind: BreakingRunner(runners[kind[0]].model, cpu_runtime=kind[1]) for kind in kinds}


def run(runner: ModelRunner, requests: Sequence[GenerationRequest]) -> tuple[Engine, dict[str, list[EngineEvent]]]:
    engine = Engine(runner, EngineConfig(device="cpu", max_running=64))
    events: dict[str, list[EngineEvent]] = {request.request_id: [] for request in requests}
    for request in requests:
        engine.add(RequestState(request, runner.model.config, events[request.request_id].append))
    while engine.has_work:
        engine.step()
    return engine, events


KINDS: Mapping[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"temperature": 1.0},
    "filtered": {"temperature": 1.0, "top_p": 0.5, "top_k": 5, "min_p": 0.1},
    "penalised": {"temperature": 1.0, "repetition_penalty": 1.3, "frequency_penalty": 0.5, "logit_bias": {7: 1.0}},
    "guided": {"cfg_scale": 1.5},
    "ban": {"eos_never_predicted": True},
    "threshold": {"confidence_threshold": 0.5},
    "factor": {"confidence_factor": 1.5},
    "margin": {"confidence_margin": 0.1},
    "entropy": {"entropy_bound": 1.0},
    "klass": {"confidence_threshold": 0.1, "stability_bound": 0.5},
    "wino": {"confidence_threshold": 0.01, "revoke_threshold": 0.9},
    "random": {"algorithm": "random"},
    "cached": {"cache": "dual", "block_length": 4},
    "lengths": {"mask_lengths": (2, 4, 8)},
}


Breaking = Mapping[tuple[str, RuntimeName], BreakingRunner]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_a_broken_request_ends_with_the_step_and_no_other_does(
    kind: str, runtime: RuntimeName, breaking: Breaking
) -> None:
    runner = breaking["llada-tiny", runtime]
    params = DecodingParams(8, **KINDS[kind])
    broken = GenerationRequest("broken", (7, 8, 9), (), params, num_logprobs=2, snapshots=True)
    others = [replace(broken, request_id=str(number), prefix=(6, number + 20)) for number in range(2)]
    step = 1 if kind == "lengths" else 2
    _, undisturbed = run(runner.breaking(0.0, 0), others)
    for value in BROKEN:
        engine, events = run(runner.breaking(value, step), [others[0], broken, others[1]])
        end = events.pop("broken")[-1]
        assert isinstance(end, Failed)
        assert isinstance(end.error, LogitsNotFinite)
        assert f"in step {step} the model's logits are not finite (NaN or infinity), rows: 1." in str(end.error)
        assert end.nfe == step - 1
        assert events == undisturbed
        assert engine.recovery.counters.num_not_finite == 1
        assert engine.runner.cached_names() == set()


@pytest.mark.parametrize("name", ["dream-tiny", "dreamon-tiny"])
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 1.0, "alg_temp": 0.5, "top_k": 5}, {"algorithm": "topk_margin", "top_p": 0.5}]
)
def test_every_family_recognises_a_broken_request(name: str, options: dict[str, Any], breaking: Breaking) -> None:
    broken = GenerationRequest("broken", (7, 8, 9), (10,), DecodingParams(8, cache="dual", **options))
    for value in BROKEN:
        _, events = run(breaking[name, "auto"].breaking(value, 2), [broken])
        end = events["broken"][-1]
        assert isinstance(end, Failed)
        assert isinstance(end.error, LogitsNotFinite)


def test_a_model_of_broken_weights_fails_every_request_and_serves_on() -> None:
    model = small_llada()
    with torch.no_grad():
        model.stack().norm.weight.fill_(torch.nan)
    for runtime in ("auto", "torch"):
        engine, events = run(ModelRunner(model, cpu_runtime=runtime), [_plain(str(number)) for number in range(4)])
        assert all(isinstance(sent[-1], Failed) for sent in events.values())
        assert engine.recovery.counters.num_not_finite == 4


def _plain(name: str) -> GenerationRequest:
    return GenerationRequest(name, (1, 2), (), DecodingParams(4))


@examples(6)
@given(st.integers(0, 10**6))
def test_infinity_that_bans_a_token_is_no_fault(llada: ModelRunner, seed: int) -> None:
    engine, events = run(llada, mixed_requests(llada.model.config, seed, 3))
    assert all(isinstance(sent[-1], Finished) for sent in events.values())
    assert engine.recovery.counters.num_not_finite == 0


def test_large_numbers_are_numbers(llada: ModelRunner) -> None:
    """Their sum is infinite, and nothing else."""

    class Large(ModelRunner):
        def logits(self, sequences: Sequence[SequenceInput]) -> torch.Tensor:
            logits = super().logits(sequences)
            return logits.fill_(3e38).index_fill(-1, torch.tensor([5]), 3.2e38)

    work = Work((SequenceInput(range(5, 15), [2, 3]),), RULES)
    assert Large(llada.model).run([work])[0].token_ids == [5, 5]
    assert Large(llada.model).run([work])[0].num_broken == 0


@examples(40)
@given(st.sampled_from(BROKEN), st.integers(0, 11), st.sampled_from([None, 0.5]), st.sampled_from([None, 3]))
def test_any_row_of_logits_gives_a_token_of_the_vocabulary(
    value: float, column: int, top_p: float | None, top_k: int | None
) -> None:
    """On a GPU an index outside ends the process's use of it, before anybody can look at what came."""
    logits = torch.randn(3, 12)
    logits[1, column] = value
    uniforms = torch.tensor([0.1, 0.999999, 0.5], dtype=torch.float64)
    assert draw(logits, uniforms).max() < 12
    for score in Score:
        for sees_filters in (False, True):
            rules = LogitRules(score, 0.7, top_p, top_k, sees_filters)
            tokens = predict(logits, rules, uniforms)[0]
            assert ((tokens >= 0) & (tokens < 12)).all()


# -- graphs that do not run -------------------------------------------------------------------------------------------


def test_auto_makes_do_with_modules_where_no_graph_can_be_built(
    llada: ModelRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("This session needs an operator that this build has not")

    monkeypatch.setattr(graphs._PassBuilder, "session", fail)
    with caplog.at_level(logging.WARNING):
        runner = ModelRunner(llada.model)
    assert "runs by PyTorch from here on" in caplog.text
    assert "needs an operator" in caplog.text
    sequence = SequenceInput(range(5, 15), [2, 3])
    with torch.inference_mode():
        torch.testing.assert_close(runner.logits([sequence]), llada.logits([sequence]), atol=2e-5, rtol=1e-4)
    with pytest.raises(EngineError, match=r"cpu_runtime=onnx: ONNX Runtime failed: This session.*; use auto or torch"):
        ModelRunner(llada.model, cpu_runtime="onnx")


class FailingSession(GraphSession):
    def __init__(self, message: str) -> None:
        self._message = message

    def run(self, outputs: Sequence[str], arrays: Mapping[str, Array]) -> list[Array]:
        raise RuntimeError(self._message)


def test_a_graph_that_stops_running_leaves_its_requests_to_the_modules(
    llada: ModelRunner, caplog: pytest.LogCaptureFixture
) -> None:
    requests = [GenerationRequest(n, (5, 6), (), DecodingParams(8, cache="dual", block_length=4)) for n in "ab"]
    runner, demanded = ModelRunner(llada.model), ModelRunner(llada.model, cpu_runtime="onnx")
    for each in (runner, demanded):
        assert isinstance(each._forward, GraphForward)
        each._forward._graph(reads_cache=True)._session = FailingSession(
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code"
        )
    _, undisturbed = run(llada, requests)
    with caplog.at_level(logging.WARNING):
        _, events = run(runner, requests)
    assert caplog.text.count("runs by PyTorch") == 1
    assert all(isinstance(sent[-1], Finished) for sent in events.values())
    for name, sent in events.items():  # also with the keys that the graphs had cached
        assert [e.new_final for e in sent if isinstance(e, Step)] == [
            e.new_final for e in undisturbed[name] if isinstance(e, Step)
        ]
    assert runner.cached_names() == set()
    with pytest.raises(EngineError, match="cpu_runtime=onnx: ONNX Runtime failed"):
        run(demanded, requests)


def test_a_graph_that_cannot_be_built_once_it_is_needed_leaves_its_requests_to_the_modules(
    llada: ModelRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("This session needs an operator that this build has not")

    requests = [GenerationRequest(n, (5, 6), (), DecodingParams(8, cache="dual", block_length=4)) for n in "ab"]
    runner, demanded = ModelRunner(llada.model), ModelRunner(llada.model, cpu_runtime="onnx")
    _, undisturbed = run(llada, requests)
    monkeypatch.setattr(graphs._PassBuilder, "session", fail)
    with caplog.at_level(logging.WARNING):
        _, events = run(runner, requests)
    assert caplog.text.count("runs by PyTorch") == 1
    assert not runner.is_graphed
    for name, sent in events.items():
        assert [e.new_final for e in sent if isinstance(e, Step)] == [
            e.new_final for e in undisturbed[name] if isinstance(e, Step)
        ]
    with pytest.raises(EngineError, match="cpu_runtime=onnx: ONNX Runtime failed"):
        run(demanded, requests)


def test_graphs_that_are_demanded_of_a_model_that_has_none_are_an_error(llada: ModelRunner) -> None:
    with pytest.raises(EngineError, match=r"at most 128 MiB of weights.*; use auto or torch"):
        ModelRunner(small_llada().bfloat16(), cpu_runtime="onnx")


def test_a_graph_stays_in_use_after_a_lack_of_memory(llada: ModelRunner) -> None:
    runner = ModelRunner(llada.model)
    assert isinstance(runner._forward, GraphForward)
    runner._forward._graph(reads_cache=False)._session = FailingSession("std::bad_alloc")
    with pytest.raises(EngineError, match="did not fit cpu"):
        runner.run([Work((SequenceInput([5], [0]),), RULES)])
    assert isinstance(runner._forward, GraphForward)
