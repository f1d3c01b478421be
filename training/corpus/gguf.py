"""Reads a GGUF file (version 3): its fields, and its tensors as float32.

The format is that of ggml's `docs/gguf.md`; the types of blocks are those that the
writer's file has: F32, Q4_1 and Q8_0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The scalar types of fields, as characters of `struct`."""
DEFAULT_ALIGNMENT = 32
BLOCK = 32
"""The number of weights that share a scale."""

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Gguf:
    """The fields and the tensors of a file by name; a tensor's shape has its slowest dimension first."""

    fields: dict[str, Any]
    tensors: dict[str, Floats]


class _Reader:
    """Reads values one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def scalar(self, kind: str) -> Any:
        [value] = struct.unpack_from(f"<{kind}", self.data, self.position)
        self.position += struct.calcsize(kind)
        return value

    def text(self) -> str:
        length = self.scalar("Q")
        self.position += length
        return self.data[self.position - length : self.position].decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            inner, length = self.scalar("I"), self.scalar("Q")
            return [self.value(inner) for _ in range(length)]
        return self.scalar(SCALARS[kind])


def read_gguf(data: bytes) -> Gguf:
    """The file's content.

    Raises:
        ValueError: the data is no GGUF file of version 3, or a tensor has another type of blocks.
    """
    reader = _Reader(data)
    if data[:4] != MAGIC or struct.unpack_from("<I", data, 4)[0] != 3:
        raise ValueError(f"not a GGUF file of version 3: it begins with {data[:8]!r}")
    reader.position = 8
    num_tensors, num_fields = reader.scalar("Q"), reader.scalar("Q")
    fields = {reader.text(): reader.value(reader.scalar("I")) for _ in range(num_fields)}
    places = [_place(reader) for _ in range(num_tensors)]
    alignment = fields.get("general.alignment", DEFAULT_ALIGNMENT)
    start = -(-reader.position // alignment) * alignment
    return Gguf(fields, {name: _dense(data, start + offset, shape, kind) for name, shape, kind, offset in places})


def _place(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    """The name, shape, type and offset of a tensor; the file names the fastest dimension first."""
    name, dimensions = reader.text(), reader.scalar("I")
    shape = tuple(reader.scalar("Q") for _ in range(dimensions))[::-1]
    return name, shape, reader.scalar("I"), reader.scalar("Q")


def _dense(data: bytes, start: int, shape: tuple[int, ...], kind: int) -> Floats:
    if kind not in BLOCKS:
        raise ValueError(f"a tensor has blocks of type {kind}; this reader knows {', '.join(map(str, BLOCKS))}")
    size, decode = BLOCKS[kind]
    count = int(np.prod(shape)) // BLOCK
    blocks = np.frombuffer(data, np.uint8, count * size, start).reshape(count, size)
    return decode(blocks).reshape(shape)


def _f32(blocks: Bytes) -> Floats:
    return blocks.view(np.float32)


def _halves(blocks: Bytes, start: int) -> Floats:
    """The half-precision number that begins at a byte of each block, `[blocks, 1]`."""
    return blocks[:, start : start + 2].copy().view(np.float16).astype(np.float32)


def _q4_1(blocks: Bytes) -> Floats:
    """Scale, minimum, 16 bytes: byte i holds weight i in its low and weight i + 16 in its high half."""
    packed = blocks[:, 4:]
    numbers = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)
    return numbers * _halves(blocks, 0) + _halves(blocks, 2)


def _q8_0(blocks: Bytes) -> Floats:
    """Scale, 32 signed bytes."""
    return blocks[:, 2:].copy().view(np.int8).astype(np.float32) * _halves(blocks, 0)


BLOCKS: dict[int, tuple[int, Callable[[Bytes], Floats]]] = {
    0: (4 * BLOCK, _f32),
    3: (2 + 2 + BLOCK // 2, _q4_1),
    8: (2 + BLOCK, _q8_0),
}
"""The bytes of a block and its decoder, by ggml's number of the type."""
