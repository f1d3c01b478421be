"""Requests with constraints, in every family and by every rule: what ends by itself is an allowed text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from app.engine.constraint.automaton import TokenAutomaton
from app.engine.engine import Engine
from app.engine.interface.config import EngineConfig
from app.engine.interface.errors import EngineError, EngineStopped, InvalidRequest, OutOfDeviceMemory
from app.engine.interface.events import EngineEvent, Failed, Finished, FinishReason, Step
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.models.base import ModelConfig
from app.engine.passes import reading
from app.engine.passes.runner import ModelRunner
from app.engine.request.state import RequestState
from tests.profiles import is_thorough
from tests.unit.engine.checkpoints import BY_MODULES, CHECKPOINTS
from tests.unit.engine.constraint.automata import automaton_of, random_automaton
from tests.unit.engine.mixture import mixed_requests

NAMES = [*CHECKPOINTS, *BY_MODULES]


def _constrained(request: GenerationRequest, config: ModelConfig, seed: int) -> GenerationRequest:
    params = replace(request.params, pad_delete_to_right=False, eos_last=False)
    if seed % 2:
        params = replace(params, logit_bias=_against_what_is_allowed(config, seed))
    return replace(request, params=params, constraint=_text_automaton(config, seed))


def _against_what_is_allowed(config: ModelConfig, seed: int) -> dict[int, float]:
    """Bans and favours at random: most of what the constraint allows is banned."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(config.vocab_size)
    forbidden = (config.special.mask, *config.special.unusable)
    return {int(i): float(rng.choice([-100.0, -100.0, 100.0])) for i in ids[: len(ids) * 3 // 4] if i not in forbidden}


def _text_automaton(config: ModelConfig, seed: int) -> TokenAutomaton:
    """A random automaton over ids without a role."""
    special = config.special
    roles = [i for i in (special.mask, *special.ends, special.pad, special.bos, special.expand) if i is not None]
    while True:
        rng, seed = np.random.default_rng(seed), seed + 1_000_003
        automaton = random_automaton(rng, config.vocab_size)
        if automaton is None:
            continue
        classes = automaton.classes.copy()
        classes[roles] = 0
        if set(classes) >= set(range(1, automaton.num_classes)):
            edges = automaton.labels > 0
            columns = (automaton.sources[edges], automaton.labels[edges], automaton.targets[edges])
            return TokenAutomaton(classes, *columns, automaton.accepting)


def _run(runner: ModelRunner, requests: list[GenerationRequest]) -> dict[str, list[EngineEvent]]:
    engine = Engine(runner, EngineConfig())
    events: dict[str, list[EngineEvent]] = {}
    for request in requests:
        events[request.request_id] = []
        try:
            state = RequestState(request, runner.model.config, events[request.request_id].append)
        except InvalidRequest as error:
            _check_refusal(request, str(error))
            continue
        engine.add(state)
    while engine.has_work:
        engine.step()
    return events


def _check_refusal(request: GenerationRequest, why: str) -> None:
    """Only what has no text is refused."""
    assert request.constraint is not None
    least, most = int(request.constraint.distances[0]), request.params.max_new_tokens
    if request.params.eos_never_predicted and request.open_ended:
        assert not request.constraint.accepting_in(most)[0]
    else:
        assert least > most
        assert str(least) in why


def _text(events: list[EngineEvent]) -> tuple[int, ...]:
    return tuple(token for event in events if isinstance(event, Step) for token in event.new_final)


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_a_text_that_the_constraint_allows(runners: Mapping[str, ModelRunner], name: str) -> None:
    runner = runners[name]
    config = runner.model.config
    count = 60 if is_thorough() else 30
    requests = [_constrained(each, config, seed) for seed, each in enumerate(mixed_requests(config, 7, count))]

    answers = _run(runner, requests)

    num_finished = 0
    for request in requests:
        for event in answers[request.request_id]:
            assert not isinstance(event, Failed), (request, event.error)
            if isinstance(event, Finished):
                num_finished += 1
                assert request.constraint is not None
                end = request.constraint.run(_text(answers[request.request_id]))
                assert end is not None, request
                assert request.constraint.accepting[end], request
                assert event.reason is FinishReason.STOP
    assert num_finished > count * 2 / 3


def test_a_length_that_takes_too_long_to_look_for_is_refused(
    runners: Mapping[str, ModelRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.request.constraint._MAX_VISITS", 20)
    config = runners["llada-tiny"].model.config
    two_edges = automaton_of({(0, 10): 0, (0, 11): 0}, {0}, config.vocab_size)

    def refusal(max_new_tokens: int) -> str:
        params = DecodingParams(max_new_tokens, eos_never_predicted=True)
        request = GenerationRequest("a", (10,), (), params, open_ended=True, constraint=two_edges)
        events: list[EngineEvent] = []
        try:
            RequestState(request, config, events.append)
        except InvalidRequest as error:
            return str(error)
        return ""

    assert refusal(10) == ""
    assert "at most 10 tokens are possible" in refusal(11)


def _state(
    runners: Mapping[str, ModelRunner], name: str, params: DecodingParams, *, open_ended: bool = True
) -> RequestState:
    """A request whose constraint has two edges: any number of two tokens."""
    config = runners[name].model.config
    two_edges = automaton_of({(0, 10): 0, (0, 11): 0}, {0}, config.vocab_size)
    request = GenerationRequest("a", (10,), (), params, open_ended=open_ended, constraint=two_edges)
    return RequestState(request, config, lambda event: None)


def test_a_length_of_a_gap_that_takes_too_long_to_look_for_is_refused(
    runners: Mapping[str, ModelRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.request.constraint._MAX_VISITS", 20)
    params = DecodingParams(10, block_length=2, eos_never_predicted=True)
    _state(runners, "llada-tiny", params, open_ended=False)
    with pytest.raises(InvalidRequest, match=r"exactly 11 tokens .* at most 10 tokens are possible"):
        _state(runners, "llada-tiny", replace(params, max_new_tokens=11), open_ended=False)


def test_blocks_that_are_too_much_to_predict_together_are_refused(
    runners: Mapping[str, ModelRunner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.constraint.footprint._MAX_EDGES", 10)
    for fits in (DecodingParams(30, block_length=5), DecodingParams(5, block_length=30)):
        _state(runners, "llada-tiny", fits)
    with pytest.raises(InvalidRequest, match=r"block_length=6 .* 2 edges, .* block_length=5 at most") as refused:
        _state(runners, "llada-tiny", DecodingParams(30, block_length=6))
    assert refused.value.field == "block_length"


@pytest.mark.parametrize(
    ("name", "params", "open_ended", "span"),
    [
        ("llada-tiny", DecodingParams(20), True, 3),
        ("llada-tiny", DecodingParams(20, block_length=3), True, 20),
        ("llada-tiny", DecodingParams(20, block_length=2, steps=7), True, 20),  # blocks of three
        ("llada-tiny", DecodingParams(20, block_length=2, steps=6), True, 3),  # blocks of four
        ("llada-tiny", DecodingParams(20, block_length=2, mask_lengths=(8, 16)), False, 3),  # tried as a whole
        ("sdar-tiny", DecodingParams(20), True, 3),  # blocks of four, as it was trained
    ],
)
def test_a_canvas_is_shorter_where_a_step_would_predict_too_many_masks(
    runners: Mapping[str, ModelRunner],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    params: DecodingParams,
    open_ended: bool,
    span: int,
) -> None:
    monkeypatch.setattr("app.engine.constraint.footprint._MAX_EDGES", 6)
    state = _state(runners, name, params, open_ended=open_ended)
    state.start()
    num_masks = sum(len(part.lattice.rows) for part in state.work.constrained)
    assert (state.canvas.span_length or num_masks) == span
    assert num_masks <= 3


@pytest.mark.parametrize("name", ["llada-tiny", "sdar-tiny"])
def test_an_answer_over_short_canvases_is_a_text_that_the_constraint_allows(
    runners: Mapping[str, ModelRunner], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ten = automaton_of({(place, 10): place + 1 for place in range(10)}, {10}, runners[name].model.config.vocab_size)
    monkeypatch.setattr("app.engine.constraint.footprint._MAX_EDGES", 30)
    request = GenerationRequest("ten", (11,), (), DecodingParams(12), open_ended=True, constraint=ten)
    assert _text(_run(runners[name], [request])["ten"]) == (10,) * 10


@pytest.mark.parametrize("name", ["llada-tiny", "dream-tiny", "dreamon-tiny"])
def test_a_gap_may_have_to_stay_empty(runners: Mapping[str, ModelRunner], name: str) -> None:
    """The shortest text after the empty one has twelve tokens, and nine fit."""
    runner = runners[name]
    twelve = automaton_of({(state, 10): state + 1 for state in range(12)}, {0, 12}, runner.model.config.vocab_size)
    params = DecodingParams(
        9, steps=4, mask_lengths=() if name == "dreamon-tiny" else (2, 4, 6), eos_never_predicted=name != "dreamon-tiny"
    )
    request = GenerationRequest("gap", (10, 11), (12,), params, constraint=twelve)

    events = _run(runner, [request])["gap"]

    assert _text(events) == ()
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.STOP


@pytest.mark.parametrize("name", NAMES)
def test_a_constrained_request_gets_the_same_events_alone_and_in_a_batch(
    runners: Mapping[str, ModelRunner], name: str
) -> None:
    runner = runners[name]
    config = runner.model.config
    requests = mixed_requests(config, 11, 12)
    requests[::2] = [_constrained(each, config, seed) for seed, each in enumerate(requests[::2])]

    together = _run(runner, requests)

    for request in requests:
        assert _run(runner, [request])[request.request_id] == together[request.request_id]


def _break_constrained_reads(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(reading, "predict_constrained", broken)


def _plain_beside_constrained(runner: ModelRunner) -> list[GenerationRequest]:
    """Two requests, of which the second is constrained; both ask for what is read after the tokens, too."""
    plain = GenerationRequest("plain", (5, 6), (), DecodingParams(6), open_ended=True, num_logprobs=1)
    automaton = _text_automaton(runner.model.config, 3)
    return [plain, replace(plain, request_id="constrained", constraint=automaton)]


@pytest.mark.parametrize("error", [EngineError("no text is left"), IndexError("a defect")])
def test_a_defect_while_constrained_logits_are_read_fails_only_their_request(
    llada: ModelRunner, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    plain, constrained = _plain_beside_constrained(llada)
    undisturbed = _run(llada, [plain])["plain"]
    _break_constrained_reads(monkeypatch, error)

    events = _run(llada, [plain, constrained])

    assert events["plain"] == undisturbed
    _, end = events["constrained"]
    assert isinstance(end, Failed)
    assert isinstance(end.error, EngineStopped)
    assert str(end.error) == f"decoding failed: {type(error).__name__}: {error}"
    assert llada.cached_names() == set()


def test_a_lack_of_memory_while_constrained_logits_are_read_is_one_of_the_pass(
    llada: ModelRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine then runs the pass in smaller parts, so the neighbour goes on."""
    _break_constrained_reads(monkeypatch, MemoryError("bad allocation"))

    events = _run(llada, _plain_beside_constrained(llada))

    assert isinstance(events["plain"][-1], Finished)
    end = events["constrained"][-1]
    assert isinstance(end, Failed)
    assert isinstance(end.error, OutOfDeviceMemory)


def test_a_device_that_breaks_while_constrained_logits_are_read_is_broken_for_all(
    llada: ModelRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_constrained_reads(monkeypatch, RuntimeError("CUDA error: device-side assert triggered"))
    with pytest.raises(RuntimeError, match="device-side assert"):
        _run(llada, _plain_beside_constrained(llada))
