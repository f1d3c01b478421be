"""Forward passes of the block-causal networks, each row alone and all of a case together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from app.engine.families import registry
from app.engine.families.checkpoint import load_model
from app.engine.families.fast_dllm_v2 import FAST_DLLM_V2
from app.engine.families.sdar import SDAR
from app.engine.families.stable_diffcoder import STABLE_DIFFCODER
from app.engine.passes.runner import ModelRunner
from tests.conformance.cases import Case, find_cases, judge_forward
from tests.conformance.test_vectors import VECTORS

CASES = {case.label: case for case in find_cases(VECTORS / "block") if "logits" in case.raw}


@pytest.fixture(autouse=True)
def known_families() -> Iterator[None]:
    families = (SDAR, STABLE_DIFFCODER, FAST_DLLM_V2)
    for family in families:
        registry.register(family)
    yield
    for family in families:
        registry._FAMILIES.pop(family.name)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward(case: Case) -> None:
    runner = ModelRunner(load_model(case.checkpoint, torch.device("cpu"), torch.float32), cpu_runtime="torch")
    judge_forward(case, runner, together=False)
    judge_forward(case, runner, together=True)
