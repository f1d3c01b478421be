"""Runs every golden case of a folder: `python -m tests.conformance.run FOLDER`, from `backend/`.

A decoding case passes only if its requests give the golden canvases twice: each request alone, and all requests of
the checkpoint together in one batch. Prints a line per failure and `N passed, M failed`; exits with 1 on a failure.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from app.engine.families.checkpoint import load_model
from app.engine.interface.errors import EngineError
from app.engine.passes.runner import ModelRunner
from app.text.errors import TextError
from tests.conformance import traces
from tests.conformance.block_cases import judge_distribution
from tests.conformance.cases import decoding_case, find_cases, judge_forward, judge_likelihood
from tests.conformance.judging import Case, DecodingCase, Mismatch
from tests.conformance.text_cases import judge_tokenizer

Verdicts = Mapping[str, str | None]
"""Label of a case -> what is wrong with it, or `None`."""

# What a vector of an unknown schema can make our readers raise; each is that case's failure, not the run's.
_EXPECTED = (Mismatch, EngineError, TextError, KeyError, IndexError, TypeError, ValueError, AttributeError, OSError)


def judge_folder(folder: Path) -> Verdicts:
    """A verdict on every case under `folder`."""
    by_checkpoint: dict[Path, list[Case]] = defaultdict(list)
    for case in find_cases(folder):
        by_checkpoint[case.checkpoint].append(case)
    verdicts: dict[str, str | None] = {}
    for checkpoint, cases in by_checkpoint.items():
        verdicts |= _judge_checkpoint(checkpoint, cases)
    return verdicts


def _judge_checkpoint(checkpoint: Path, cases: Sequence[Case]) -> Verdicts:
    try:
        runner = ModelRunner(load_model(checkpoint, torch.device("cpu"), torch.float32))
    except EngineError as error:
        return {case.label: f"the checkpoint does not load: {error}" for case in cases}
    verdicts: dict[str, str | None] = {}
    decoding: dict[str, DecodingCase] = {}
    for case in cases:

        def judge(case: Case = case) -> None:
            prepared = decoding_case(case, runner)
            if prepared is None:
                _judge_single(case, runner)
            else:
                prepared.judge(
                    traces.run(runner, prepared.requests, together=False, special=prepared.special_by_request)
                )
                decoding[case.label] = prepared

        verdicts[case.label] = _verdict(judge)
    return {**verdicts, **_judge_together(runner, decoding)}


def _judge_single(case: Case, runner: ModelRunner) -> None:
    if "encode" in case.raw:
        judge_tokenizer(case)
    elif "rounds" in case.raw:
        judge_likelihood(case, runner)
    elif "logits" in case.raw:
        judge_forward(case, runner, together=False)
        judge_forward(case, runner, together=True)
    elif "probabilities" in case.raw:
        judge_distribution(case, runner)
    else:
        raise Mismatch("a case of an unknown kind")


def _judge_together(runner: ModelRunner, decoding: Mapping[str, DecodingCase]) -> Verdicts:
    """All requests of all cases that passed alone, once more in one batch."""
    requests = [request for case in decoding.values() for request in case.requests]
    special = {name: ids for case in decoding.values() for name, ids in case.special_by_request.items()}
    try:
        batch = traces.run(runner, requests, together=True, special=special)
    except EngineError as error:
        return dict.fromkeys(decoding, f"in one batch: {error}")
    verdicts: dict[str, str | None] = {}
    start = 0
    for label, case in decoding.items():
        own = batch[start : start + len(case.requests)]
        start += len(own)
        alone_too = _verdict(lambda case=case, own=own: case.judge(own))  # type: ignore[misc]
        verdicts[label] = None if alone_too is None else f"in one batch: {alone_too}"
    return verdicts


def _verdict(judge: Callable[[], None]) -> str | None:
    try:
        judge()
    except _EXPECTED as error:
        return str(error) if isinstance(error, Mismatch) else f"{type(error).__name__}: {error}"
    return None


def main(arguments: Sequence[str]) -> int:
    folder = Path(arguments[0]) if arguments else Path(__file__).parent / "vectors"
    verdicts = judge_folder(folder)
    failures = {label: reason for label, reason in verdicts.items() if reason is not None}
    for label, reason in failures.items():
        sys.stdout.write(f"FAILED {label}: {reason}\n")
    sys.stdout.write(f"{len(verdicts) - len(failures)} passed, {len(failures)} failed\n")
    return 1 if failures or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
