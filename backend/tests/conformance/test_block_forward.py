"""Forward passes of the block-causal networks by modules, each row alone and all of a case together."""

from __future__ import annotations

import pytest
import torch

from app.engine.families.checkpoint import load_model
from app.engine.passes.runner import ModelRunner
from tests.conformance.cases import find_cases, judge_forward
from tests.conformance.judging import Case
from tests.conformance.test_vectors import VECTORS

CASES = {case.label: case for case in find_cases(VECTORS / "block") if "logits" in case.raw}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward(case: Case) -> None:
    runner = ModelRunner(load_model(case.checkpoint, torch.device("cpu"), torch.float32), cpu_runtime="torch")
    judge_forward(case, runner, together=False)
    judge_forward(case, runner, together=True)
