"""The reader of GGUF files: fields, order of dimensions, blocks of weights."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from training.corpus.gguf import read_gguf

WEIGHTS = np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def fields() -> bytes:
    words = text("words") + struct.pack("<IIQ", 9, 8, 2) + text("one") + text("two")
    return text("size") + struct.pack("<II", 4, 7) + words


def q8_0(row: np.ndarray) -> bytes:
    scale = np.float16(np.abs(row).max() / 127)
    return scale.tobytes() + np.round(row / np.float32(scale)).astype(np.int8).tobytes()


def q4_1(row: np.ndarray) -> bytes:
    scale, least = np.float16((row.max() - row.min()) / 15), np.float16(row.min())
    numbers = np.clip(np.round((row - np.float32(least)) / np.float32(scale)), 0, 15).astype(np.uint8)
    return scale.tobytes() + least.tobytes() + (numbers[:16] | numbers[16:] << 4).tobytes()


def gguf_file(kind: int, data: bytes) -> bytes:
    """A file with two fields and one tensor of 2 x 32 weights, whose fastest dimension is named first."""
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + fields()
    header += text("weight") + struct.pack("<IQQIQ", 2, 32, 2, kind, 0)
    return header + bytes(-len(header) % 32) + data


def test_fields_are_read_with_their_types() -> None:
    assert read_gguf(gguf_file(0, WEIGHTS.tobytes())).fields == {"size": 7, "words": ["one", "two"]}


def test_float_tensors_are_read_exactly() -> None:
    assert np.array_equal(read_gguf(gguf_file(0, WEIGHTS.tobytes())).tensors["weight"], WEIGHTS)


@pytest.mark.parametrize(("kind", "pack", "error"), [(8, q8_0, 0.005), (3, q4_1, 0.04)])
def test_packed_tensors_are_read_to_within_half_a_step(kind: int, pack: object, error: float) -> None:
    assert callable(pack)
    found = read_gguf(gguf_file(kind, b"".join(pack(row) for row in WEIGHTS))).tensors["weight"]
    assert found.dtype == np.float32
    assert np.abs(found - WEIGHTS).max() < error


def test_other_files_are_refused() -> None:
    with pytest.raises(ValueError, match="not a GGUF file of version 3"):
        read_gguf(b"PK\3\4" + bytes(60))


def test_unknown_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="blocks of type 30; this reader knows 0, 3, 8"):
        read_gguf(gguf_file(30, bytes(256)))
