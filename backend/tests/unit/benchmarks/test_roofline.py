from __future__ import annotations

import pytest
import torch

from app.engine.cache.span import ComputedSpan
from app.engine.families.registry import family_of
from app.engine.passes.work import SequenceInput
from benchmarks.roofline import cost, least_s
from benchmarks.shapes import LLADA_8B

CONFIG = family_of(LLADA_8B).config_of(LLADA_8B)
WEIGHTS = 32 * (4 * 4096**2 + 3 * 4096 * 12288) + 4096 * 126464
"""The number of weights without the embedding, of which a pass reads a few rows."""


def test_a_whole_canvas_multiplies_every_weight_by_every_token() -> None:
    flops, num_bytes = cost(CONFIG, 2, [SequenceInput([1] * 512, range(512))])
    attention = 4 * 32 * 4096 * 512 * 512
    assert flops == 2 * 512 * WEIGHTS + attention
    assert num_bytes == 2 * WEIGHTS


def test_only_wanted_rows_go_through_head_and_last_layer() -> None:
    whole, _ = cost(CONFIG, 2, [SequenceInput([1] * 512, range(512))])
    wanted, _ = cost(CONFIG, 2, [SequenceInput([1] * 512, range(32))])
    assert whole - wanted == 2 * 480 * (4096 * 126464 + 4096**2 + 3 * 4096 * 12288)


def test_a_span_reads_what_is_cached_and_multiplies_its_own_rows() -> None:
    span = SequenceInput([1] * 512, range(100, 108), "a", ComputedSpan((100, 108)))
    flops, num_bytes = cost(CONFIG, 2, [span])
    assert flops == 2 * 8 * WEIGHTS + 4 * 32 * 4096 * 8 * 512
    assert num_bytes == 2 * WEIGHTS + 2 * 2 * 32 * 4096 * 504


def test_the_slower_of_arithmetic_and_memory_decides() -> None:
    passes = [[SequenceInput([1] * 512, range(512))]]
    (flops, num_bytes), slow, fast = cost(CONFIG, 2, passes[0]), 1.0, 1e9
    by_arithmetic = least_s(CONFIG, torch.bfloat16, {"bfloat16_gflops": slow, "read_gb_per_s": fast}, passes * 2)
    assert by_arithmetic == pytest.approx(2 * flops / 1e9)
    by_memory = least_s(CONFIG, torch.bfloat16, {"bfloat16_gflops": fast, "read_gb_per_s": slow}, passes)
    assert by_memory == pytest.approx(num_bytes / 1e9)
