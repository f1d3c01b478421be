from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch

from app.engine.canvas.canvas import Canvas
from app.engine.canvas.edits import Edits
from app.engine.canvas.logprobs import LogprobTrack
from app.engine.decoding.sampling import log_probabilities
from app.engine.families.registry import family_named
from app.engine.interface.events import EngineEvent, Step, TokenLogprobs
from app.engine.interface.params import DecodingParams, GenerationRequest
from app.engine.passes.runner import ModelRunner
from tests.conformance import traces
from tests.unit.engine.checkpoints import CHECKPOINTS
from tests.unit.engine.mixture import mixed_requests

MASK = 9


def said(number: int, step: int = 0, num_changes: int = 0) -> TokenLogprobs:
    return TokenLogprobs(-float(number), (), step=step, num_changes=num_changes)


def steps_of(events: Sequence[EngineEvent]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


def sent(events: Sequence[EngineEvent]) -> list[tuple[int, TokenLogprobs]]:
    return [pair for step in steps_of(events) for pair in zip(step.new_final, step.logprobs, strict=True)]


def asking(requests: Sequence[GenerationRequest], num_logprobs: int | None) -> list[GenerationRequest]:
    return [replace(request, num_logprobs=num_logprobs) for request in requests]


def test_log_probabilities_are_those_of_the_whole_vocabulary() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 5.0]])
    first, second = log_probabilities(logits, [2, 0], num_top=2)
    expected = logits.log_softmax(-1)
    assert first.logprob == pytest.approx(expected[0, 2].item())
    assert [token_id for token_id, _ in first.top] == [1, 2]
    assert [logprob for _, logprob in first.top] == pytest.approx([expected[0, 1].item(), expected[0, 2].item()])
    assert second.logprob == pytest.approx(expected[1, 0].item())
    assert second.top[0][0] == 2
    assert [len(each.top) for each in log_probabilities(logits, [0, 0], num_top=20)] == [3, 3]
    assert [each.top for each in log_probabilities(logits, [0, 0], num_top=0)] == [(), ()]


def test_a_track_follows_expansions_and_deletions() -> None:
    canvas, track = Canvas([1], 3, [2], MASK), LogprobTrack()
    track.open_round(canvas)
    canvas.commit(1, 5)
    canvas.commit(2, 6)
    canvas.commit(3, 7)
    canvas.expand(2)
    canvas.delete(1)
    committed = ((1, 5, 1.0), (2, 6, 1.0), (3, 7, 1.0))
    track.follow([1, 2, 3], [said(1), said(2), said(3)], Edits(committed, deleted=(1,), expanded=(2,)))
    canvas.commit(1, 8)
    track.follow([1, 2], [said(4), said(5)], Edits(((1, 8, 1.0),)))
    canvas.commit(2, 4)
    track.follow([2], [said(6)], Edits(((2, 4, 1.0),)))
    assert canvas.span_ids == [8, 4, 7]
    assert track.take(2, canvas) == (said(4, step=2), said(6, step=3))
    track.close_round(canvas)
    assert track.take(1, canvas) == (said(3, step=1),)


def test_a_track_counts_the_tokens_that_a_position_had_before() -> None:
    canvas, track = Canvas([], 2, [], MASK), LogprobTrack()
    track.open_round(canvas)
    track.follow([0, 1], [said(1), said(2)], Edits(((0, 5, 1.0), (1, 6, 1.0))))
    track.follow([], [], Edits(revoked=(0, 1)))
    track.follow([0, 1], [said(3), said(4)], Edits(((0, 7, 1.0), (1, 6, 1.0))))
    track.follow([0], [said(5)], Edits(((0, 5, 1.0),)))
    canvas.commit(0, 5)
    canvas.commit(1, 6)
    assert track.take(2, canvas) == (said(5, step=4, num_changes=2), said(4, step=3, num_changes=0))


def test_a_closed_round_drops_its_masks() -> None:
    canvas, track = Canvas([], 2, [], MASK), LogprobTrack()
    track.open_round(canvas)
    canvas.commit(1, 5)
    track.follow([0, 1], [said(1), said(2)], Edits(((1, 5, 1.0),)))
    track.close_round(canvas)
    following = Canvas([5], 1, [], MASK)
    track.open_round(following)
    following.commit(1, 6)
    track.follow([1], [said(3)], Edits(((1, 6, 1.0),)))
    assert track.take(2, following) == (said(2, step=1), said(3, step=2))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_asking_for_log_probabilities_changes_nothing_else(name: str, runners: Mapping[str, ModelRunner]) -> None:
    runner = runners[name]
    requests = mixed_requests(runner.model.config, seed=3, count=8)
    without = traces.run(runner, asking(requests, None), together=True)
    with_them = traces.run(runner, asking(requests, 2), together=True)
    for plain, rich in zip(without, with_them, strict=True):
        assert [replace(event, logprobs=()) if isinstance(event, Step) else event for event in rich.events] == list(
            plain.events
        )
        assert all(len(step.logprobs) == len(step.new_final) for step in steps_of(rich.events))
        assert not any(step.logprobs for step in steps_of(plain.events))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_each_log_probability_is_that_of_the_step_which_committed_the_token(
    name: str, runners: Mapping[str, ModelRunner]
) -> None:
    """With nothing filtered, the confidence of a commit is the probability of its token; without the expand token,
    which is banned here for want of room, it is greater."""
    runner = runners[name]
    bans_tokens = "dreamon" in name
    params = DecodingParams(12, expand_budget=0 if bans_tokens else None)
    suffix = (8,) if family_named(runner.model.config.family).infills else ()
    request = GenerationRequest("r", (5, 6, 7), suffix, params, snapshots=True, num_logprobs=1)
    (trace,) = traces.run(runner, [request], together=False)
    committed = {
        (commit.token_id, step.nfe, commit.confidence)
        for step in steps_of(trace.events)
        if step.snapshot is not None
        for commit in step.snapshot.commits
    }
    found = sent(trace.events)
    assert found
    for token_id, logprobs in found:
        confidence = math.exp(logprobs.logprob)
        sures = [sure for other, nfe, sure in committed if (other, nfe) == (token_id, logprobs.step)]
        assert any(confidence == pytest.approx(sure, rel=1e-4) or (bans_tokens and confidence < sure) for sure in sures)
        assert logprobs.top[0][1] >= logprobs.logprob
