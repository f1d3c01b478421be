"""The file format of ONNX, as far as graphs need it: messages of Protocol Buffers, written field by field.

The package `onnx` writes the same bytes. It takes 9 MB of memory and a tenth of a second of each start, for a few
kinds of messages. Numbers of fields and of types are those of `onnx/onnx.proto`, where they never change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

IR_VERSION = 10
"""The version of the format itself; a runtime reads all versions before its own."""

_FLOAT_ATTRIBUTE, _INT_ATTRIBUTE = 1, 2
_EXTERNAL = 1
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
"""Wire types: how a field's value is written."""


class Type(IntEnum):
    """Types of numbers."""

    FLOAT = 1
    UINT8 = 2
    INT8 = 3
    INT64 = 7


def type_of(dtype: np.dtype[Any]) -> Type:
    """The type of an array's numbers."""
    return Type[dtype.name.upper().replace("FLOAT32", "FLOAT")]


def node(
    kind: str, inputs: Iterable[str], outputs: Iterable[str], domain: str = "", **attributes: int | float
) -> bytes:
    """A `NodeProto`: an operator of a domain, the names of what it takes and of what it gives."""
    names = [*(_field(1, name) for name in inputs), *(_field(2, name) for name in outputs)]
    more = [_field(5, _attribute(name, value)) for name, value in sorted(attributes.items())]
    return b"".join([*names, _field(4, kind), *more, *([_field(7, domain)] if domain else [])])


def value(name: str, kind: Type, shape: Sequence[int | str] | None) -> bytes:
    """A `ValueInfoProto`: an input or output, whose shape is known, or has letters for what differs from run to run."""
    tensor = _field(1, kind)
    if shape is not None:
        tensor += _field(2, b"".join(_field(1, _field(2 if isinstance(size, str) else 1, size)) for size in shape))
    return _field(1, name) + _field(2, _field(1, tensor))


def tensor(name: str, numbers: npt.NDArray[Any]) -> bytes:
    """A `TensorProto` with its numbers."""
    return _tensor(name, numbers) + _field(9, np.ascontiguousarray(numbers).tobytes())


def external_tensor(name: str, numbers: npt.NDArray[Any]) -> bytes:
    """A `TensorProto` whose numbers the session is given by itself."""
    entries = {"location": "memory", "length": str(numbers.nbytes)}
    places = (_field(13, _field(1, key) + _field(2, text)) for key, text in entries.items())
    return _tensor(name, numbers) + b"".join(places) + _field(14, _EXTERNAL)


def model(
    nodes: Iterable[bytes],
    constants: Iterable[bytes],
    inputs: Iterable[bytes],
    outputs: Iterable[bytes],
    opsets: Mapping[str, int],
) -> bytes:
    """A `ModelProto`: the whole file.

    Args:
        opsets: the version of each domain of operators; `""` is ONNX's own.
    """
    parts = ((1, nodes), (2, ["pass"]), (5, constants), (11, inputs), (12, outputs))
    graph = b"".join(_field(number, each) for number, messages in parts for each in messages)
    versions = b"".join(_field(8, _field(1, domain) + _field(2, version)) for domain, version in opsets.items())
    return _field(1, IR_VERSION) + _field(7, graph) + versions


def _tensor(name: str, numbers: npt.NDArray[Any]) -> bytes:
    sizes = b"".join(_field(1, size) for size in numbers.shape)
    return sizes + _field(2, type_of(numbers.dtype)) + _field(8, name)


def _attribute(name: str, value: int | float) -> bytes:
    kind, number = (_INT_ATTRIBUTE, 3) if isinstance(value, int) else (_FLOAT_ATTRIBUTE, 2)
    return _field(1, name) + _field(number, value) + _field(20, kind)


def _field(number: int, content: bytes | str | int | float) -> bytes:
    """One field: its number and wire type, and its value."""
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes):
        return _varint(number << 3 | _BYTES) + _varint(len(content)) + content
    if isinstance(content, float):
        return _varint(number << 3 | _FIXED32) + struct.pack("<f", content)
    return _varint(number << 3 | _VARINT) + _varint(content)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the highest bit set. Negative numbers as the 64 bits
    of their two's complement."""
    number &= (1 << 64) - 1
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
