from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from app.engine.models import byte_products
from app.engine.models.byte_products import SIGNED, UNSIGNED, packed, packed_product, packed_zero, unpacked
from tests.profiles import examples

ZERO = packed_zero()
needs_packed = pytest.mark.skipif(ZERO is None, reason="this processor, or this PyTorch, multiplies no packed bytes")


def numbers_between(least: int, most: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(least, most + 1, shape, generator=torch.Generator().manual_seed(seed)).to(torch.int8)


def product(rows: Tensor, weight: Tensor) -> Tensor:
    """The packed product of int8 rows, in the bytes that this processor takes."""
    assert ZERO is not None
    taken = (rows.short() + ZERO).to(torch.int8 if ZERO == SIGNED else torch.uint8)
    return packed_product(taken, weight, ZERO)


def exact(rows: Tensor, numbers: Tensor) -> Tensor:
    """The sums in whole numbers, rounded to float32 once."""
    return (rows.double() @ numbers.double().T).float()


@pytest.fixture
def _tried_anew() -> Iterator[None]:
    packed_zero.cache_clear()
    yield
    packed_zero.cache_clear()


@needs_packed
@examples(40)
@given(
    num_rows=st.integers(1, 70),
    num_inputs=st.integers(1, 300),
    num_outputs=st.integers(1, 130),
    seed=st.integers(0, 2**32),
)
def test_packed_products_are_exact(num_rows: int, num_inputs: int, num_outputs: int, seed: int) -> None:
    rows = numbers_between(-127, 127, num_rows, num_inputs, seed=seed)
    numbers = numbers_between(-127, 127, num_outputs, num_inputs, seed=seed + 1)
    weight = packed(numbers)
    assert torch.equal(product(rows, weight), exact(rows, numbers))
    assert torch.equal(unpacked(weight), numbers)


@needs_packed
@pytest.mark.parametrize(("num_inputs", "num_outputs"), [(1536, 24), (4001, 17)])
@pytest.mark.parametrize("least", [-127, 60, 127], ids=["of both signs", "of one sign", "largest"])
def test_a_row_has_the_same_sums_whatever_the_number_of_rows(num_inputs: int, num_outputs: int, least: int) -> None:
    """Sums beyond 2^24 too, which float32 rounds: once, and the same way for one row as for many."""
    rows, numbers = (numbers_between(least, 127, count, num_inputs, seed=count) for count in (200, num_outputs))
    rows[::3] *= -1
    weight, sums = packed(numbers), exact(rows, numbers)
    for num_rows in (1, 2, 3, 4, 8, 15, 16, 17, 33, 64, 160, 200):
        assert torch.equal(product(rows[:num_rows], weight), sums[:num_rows]), num_rows
    assert torch.equal(product(rows[5:6], weight), sums[5:6])


@needs_packed
def test_no_rows_give_no_sums() -> None:
    assert product(numbers_between(0, 9, 0, 64), packed(numbers_between(0, 9, 24, 64))).shape == (0, 24)


@needs_packed
@pytest.mark.usefixtures("_tried_anew")
def test_products_that_are_off_by_one_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_products, "packed_product", lambda *args: packed_product(*args) + 1)
    assert packed_zero() is None


@pytest.mark.usefixtures("_tried_anew")
def test_an_operator_that_is_missing_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object) -> Tensor:
        raise AttributeError("'_OpNamespace' 'onednn' object has no attribute 'qlinear_prepack'")

    monkeypatch.setattr(byte_products, "packed", missing)
    assert packed_zero() is None


@pytest.mark.usefixtures("_tried_anew")
@pytest.mark.parametrize("capability", ["DEFAULT", "SVE256"])
def test_processors_without_fast_kernels_are_not_tried(capability: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(byte_products, "_is_exact", _raises)
    assert packed_zero() is None


@needs_packed
@pytest.mark.usefixtures("_tried_anew")
@pytest.mark.parametrize(
    ("has_amx", "limit", "zero"), [(True, "", SIGNED), (True, "AVX512_CORE_VNNI", UNSIGNED), (False, "", UNSIGNED)]
)
def test_rows_have_signs_where_amx_multiplies_them(
    has_amx: bool, limit: str, zero: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(byte_products, "_is_exact", lambda tried: True)
    assert packed_zero() == zero


def _raises(zero: int) -> bool:
    raise AssertionError("tried")
