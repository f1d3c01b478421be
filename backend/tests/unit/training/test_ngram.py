from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from tests.unit.training.conftest import TEXTS
from training.ngram import ByteNgram

DOCUMENTS = [text.encode() for text in TEXTS]


@pytest.mark.parametrize("order", [0, 1, 5, 7])
@pytest.mark.parametrize("context", [b"", b"s", b"retur", b"    value = self", b"never seen \xff\xfe", b"\0\0\0\0\0"])
def test_the_probabilities_of_all_bytes_sum_to_one(order: int, context: bytes) -> None:
    probabilities = ByteNgram(DOCUMENTS, order).probabilities(context)
    assert probabilities.shape == (256,)
    assert probabilities.min() > 0
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)


def test_a_tiny_example_as_computed_by_hand() -> None:
    """`aab` and `ab`: a stands behind the beginning twice, behind a once; b stands behind a twice."""
    model = ByteNgram([b"aab", b"ab"], order=1)
    a, b = (3 + 2 / 256) / 7, (2 + 2 / 256) / 7  # 5 bytes, of 2 kinds
    first = (2 + a) / 3  # twice a beginning, 1 kind behind it
    second, third = (1 + 2 * a) / 5, (2 + 2 * b) / 5  # three times a, 2 kinds behind it
    assert model.bits(b"aab") == pytest.approx([-math.log2(p) for p in (first, second, third)])
    assert model.bits(b"bb")[1] == pytest.approx(-math.log2(b))  # nothing was seen behind b


def naive_probability(documents: list[bytes], context: bytes, byte: int, order: int) -> float:
    """The probability by the same recursion, counted anew from the padded texts for each context."""
    probability = 1 / 256
    for length in range(order + 1):
        wanted = context[len(context) - length :]
        seen = Counter(
            padded[i]
            for padded in (bytes(order) + document for document in documents)
            for i in range(order, len(padded))
            if padded[i - length : i] == wanted
        )
        if seen:
            probability = (seen[byte] + len(seen) * probability) / (seen.total() + len(seen))
    return probability


def test_packed_counts_give_what_plain_counting_gives() -> None:
    some, text = DOCUMENTS[:6], DOCUMENTS[30]
    padded = bytes(5) + text
    expected = [-math.log2(naive_probability(some, padded[i : i + 5], padded[i + 5], 5)) for i in range(len(text))]
    assert ByteNgram(some).bits(text) == pytest.approx(expected)


def test_documents_do_not_flow_into_each_other() -> None:
    model = ByteNgram([b"ab"] * 10, order=2)
    assert model.probabilities(b"ab").argmax() == ord("a")
    assert model.probabilities(b"ab")[ord("a")] < model.probabilities(b"\0\0")[ord("a")]


def test_known_text_costs_less_than_noise() -> None:
    model = ByteNgram(DOCUMENTS)
    noise = bytes(np.random.default_rng(0).integers(0, 256, 60).tolist())
    assert model.bits(DOCUMENTS[0]).mean() < 1 < 8 < model.bits(noise).mean()


@pytest.mark.parametrize("order", [-1, 8])
def test_an_order_that_cannot_be_packed_is_refused(order: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 7"):
        ByteNgram([b"a"], order)


def test_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no text"):
        ByteNgram([b""])
