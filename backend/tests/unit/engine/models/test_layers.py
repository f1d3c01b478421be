from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from app.engine.models.layers import RMSNorm, Rotary, attend, swiglu
from tests.profiles import examples
from tests.unit.engine.models import plain


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- RMSNorm ----------------------------------------------------------------------------------------------------------


def test_rmsnorm_is_its_formula() -> None:
    norm, x = RMSNorm(6, eps=0.01), normal(4, 6)
    norm.weight.data = normal(6, seed=1)
    torch.testing.assert_close(norm(x), plain.rms_norm(x, norm.weight, 0.01))


def test_rmsnorm_casts_back_before_the_product_with_the_weight() -> None:
    norm, x = RMSNorm(64, eps=1e-6).to(torch.bfloat16), normal(16, 64).to(torch.bfloat16)
    norm.weight.data = normal(64, seed=1).to(torch.bfloat16)
    exact = x.float() * (x.float().pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
    assert norm(x).dtype is torch.bfloat16
    assert torch.equal(norm(x), norm.weight * exact.to(torch.bfloat16))
    assert not torch.equal(norm(x), (norm.weight.float() * exact).to(torch.bfloat16))


# -- rotary embedding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theta", [1e4, 5e5, 1e6])
def test_rotary_turns_each_pair_of_halves_by_its_angle(theta: float) -> None:
    x, positions = normal(5, 3, 8), torch.tensor([0, 1, 7, 300, 2])
    rotated = Rotary.rotate(x, *Rotary(8, theta).angles(positions))
    torch.testing.assert_close(rotated, plain.rotate(x, positions, theta))


def test_rotary_depends_on_distance_only() -> None:
    rotary, q, k = Rotary(16, 1e4), normal(1, 1, 16), normal(1, 1, 16, seed=1)

    def product(query_position: int, key_position: int) -> float:
        turned = [
            Rotary.rotate(x, *rotary.angles(torch.tensor([position])))
            for x, position in ((q, query_position), (k, key_position))
        ]
        return float((turned[0] * turned[1]).sum())

    assert product(3, 10) == pytest.approx(product(40, 47), rel=1e-4)
    assert product(3, 10) != pytest.approx(product(10, 3), rel=1e-2)


def test_rotary_gives_back_the_working_type() -> None:
    x = normal(2, 1, 4).to(torch.bfloat16)
    cos, sin = Rotary(4, 1e4).angles(torch.tensor([0, 1]))
    assert (cos.dtype, Rotary.rotate(x, cos, sin).dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(Rotary.rotate(x, cos, sin)[0], x[0])


# -- attention --------------------------------------------------------------------------------------------------------


@examples(40)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=5),
    st.sampled_from([(4, 4), (4, 2), (6, 2), (3, 1)]),
    st.integers(0, 5),
)
def test_packed_sequences_attend_to_themselves_alone(
    lengths: list[int], heads: tuple[int, int], num_filling: int
) -> None:
    num_tokens, (num_heads, num_kv_heads) = sum(lengths), heads
    q = normal(num_tokens + num_filling, num_heads, 8)
    k, v = (normal(num_tokens + num_filling, num_kv_heads, 8, seed=seed) for seed in (1, 2))
    packed = attend(q, k, v, lengths)
    start = 0
    for length in lengths:
        span = slice(start, start + length)
        torch.testing.assert_close(packed[span], plain.attention(q[span], k[span], v[span]), atol=2e-6, rtol=1e-4)
        assert torch.equal(packed[span], attend(q[span], k[span], v[span], [length]))
        start += length
    assert torch.equal(packed[num_tokens:], torch.zeros(num_filling, num_heads * 8))


def test_attention_looks_both_ways() -> None:
    q, k, v = (normal(3, 1, 4, seed=seed) for seed in range(3))
    before = attend(q, k, v, [3])
    v[2] += 1.0
    assert (attend(q, k, v, [3])[0] != before[0]).any()


def test_swiglu_is_its_formula() -> None:
    gate, up = normal(4, 6), normal(4, 6, seed=1)
    torch.testing.assert_close(swiglu(gate, up), plain.gated(gate, up))


def test_angles_from_the_table_are_those_that_would_be_computed() -> None:
    rotary = Rotary(8, 1e4)
    with torch.inference_mode():
        rotary.angles(torch.tensor([3, 0]))
    for positions in ([7, 2, 7], [0], list(range(300)), [Rotary.MAX_TABLE + 5, 1], []):
        asked = torch.tensor(positions, dtype=torch.long)
        for kept, computed in zip(rotary.angles(asked), Rotary(8, 1e4)._computed(asked), strict=True):
            assert torch.equal(kept, computed)


def test_training_may_use_the_table_of_angles_that_decoding_has_made() -> None:
    rotary, positions = Rotary(8, 1e4), torch.arange(4)
    with torch.inference_mode():
        rotary.angles(positions)
    states = torch.randn(4, 2, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(Rotary.rotate(states, *rotary.angles(positions)).sum(), states)
    assert gradient.shape == states.shape
