"""The header of a GGUF file, version 2 or 3: what is known of a model, and where its tensors lie.

    "GGUF" | version | tensors | keys | key, type, value … | name, dimensions, type, offset … | filling | numbers …

All counts are checked against the size of the file before anything is made of them, so a file that was cut off is an
error with the numbers, and never half a model. Lists are read when they are asked for: a vocabulary has 150,000
strings. The layout is that of llama.cpp's `gguf` package, which reads and writes such files too.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_ALIGNMENT = 32
"""Bytes that a tensor begins at a multiple of, unless `general.alignment` says otherwise."""
_MAX_DIMENSIONS = 4

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Types of values, as `struct` names them."""


class GgufError(ValueError):
    """A file is no intact GGUF, or says something that cannot be used."""


class TensorType(NamedTuple):
    """One way to store numbers: in blocks, each of so many bytes."""

    name: str
    block: int
    num_bytes: int


TENSOR_TYPES = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74),
    18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18),
    21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2),
}
"""The types that are read, by their numbers."""
PLAIN_TYPES = frozenset({"F32", "F16", "BF16"})
QUANTISED_TYPES = frozenset(kind.name for kind in TENSOR_TYPES.values()) - PLAIN_TYPES


class StoredTensor(NamedTuple):
    """A tensor as it lies in the file."""

    shape: tuple[int, ...]
    """The last dimension lies together, as in PyTorch; the file says it first."""
    kind: TensorType
    start: int
    """The first of its bytes, counted from the beginning of the file."""

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) // self.kind.block * self.kind.num_bytes


class _List(NamedTuple):
    """A list that has not been read."""

    kind: int
    length: int
    start: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """The header of one file."""

    path: Path
    values: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    def value(self, key: str, kind: type[Any] | tuple[type[Any], ...], default: Any = None) -> Any:
        """The value of a key; the default where the file does not have it.

        Raises:
            GgufError: the value is of another kind.
        """
        value = self.values.get(key, default)
        is_flag = isinstance(value, bool) and kind is not bool
        if value is not default and (is_flag or not isinstance(value, kind)):
            raise GgufError(f"{self.path.name}: {key} is {value!r}, which is of another kind than is expected")
        return value

    def strings(self, key: str) -> list[str]:
        """The strings in a list; none where the file does not have it.

        Raises:
            GgufError: it is no list of strings.
        """
        found = self.value(key, _List)
        if found is None:
            return []
        if found.kind != _STRING:
            raise GgufError(f"{self.path.name}: {key} is no list of strings")
        with _Reader(self.path) as reader:
            reader.at = found.start
            return [reader.string() for _ in range(found.length)]

    def numbers(self, key: str) -> list[int]:
        """The numbers in a list; none where the file does not have it.

        Raises:
            GgufError: it is no list of numbers.
        """
        found = self.value(key, _List)
        if found is None:
            return []
        if found.kind not in _SCALARS:
            raise GgufError(f"{self.path.name}: {key} is no list of numbers")
        with _Reader(self.path) as reader:
            reader.at = found.start
            return list(reader.unpack(f"{found.length}{_SCALARS[found.kind]}"))


def gguf_file(location: Path) -> Path | None:
    """The GGUF that a location means: the file itself, or the only one in a folder without safetensors; else `None`.

    Raises:
        GgufError: there are several.
    """
    if location.is_file():
        return location if location.suffix.lower() == ".gguf" else None
    files = [path for path in location.glob("*") if path.is_file()]
    if any(".safetensors" in path.name for path in files):
        return None
    found = sorted(path for path in files if path.suffix.lower() == ".gguf")
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:9])
        raise GgufError(f"{location} holds {len(found)} GGUF files ({names}); give the path of one of them")
    return found[0] if found else None


def read_header(path: Path) -> GgufFile:
    """Reads everything but the numbers.

    Raises:
        GgufError: the file is missing, cut off or damaged, of another version, one part of several, or holds a type of
            numbers that is not read.
    """
    with _Reader(path) as reader:
        num_tensors, num_values = _counts(reader)
        values = dict(_value(reader) for _ in range(num_values))
        found = [_tensor(reader) for _ in range(num_tensors)]
        header = GgufFile(path, values, {})
        if header.value("split.count", int, 1) > 1:
            raise GgufError(
                f"{path.name} is one part of {values['split.count']}; join them by llama-gguf-split --merge"
            )
        alignment = max(1, header.value("general.alignment", int, _ALIGNMENT))
        begin = -(-reader.at // alignment) * alignment
        placed = {name: tensor._replace(start=begin + tensor.start) for name, tensor in found}
        _check_size(path, placed, reader.size)
    if len(placed) != num_tensors:
        raise GgufError(f"{path.name} holds a tensor twice")
    return GgufFile(path, values, placed)


def _counts(reader: _Reader) -> tuple[int, int]:
    if reader.take(4) != MAGIC:
        raise GgufError(f"{reader.path.name} is no GGUF file: it does not begin with {MAGIC.decode()}")
    (version,) = reader.unpack("I")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        what = "its numbers are big-endian" if swapped in VERSIONS else f"it is of version {version}"
        raise GgufError(
            f"{reader.path.name}: {what}; versions {VERSIONS[0]} and {VERSIONS[1]}, little-endian, are read"
        )
    num_tensors, num_values = reader.unpack("QQ")
    return num_tensors, num_values


def _value(reader: _Reader) -> tuple[str, Any]:
    key = reader.string()
    (kind,) = reader.unpack("I")
    if kind == _ARRAY:
        return key, _skipped_list(reader, key)
    return key, _scalar(reader, kind, key)


def _scalar(reader: _Reader, kind: int, key: str) -> Any:
    if kind == _STRING:
        return reader.string()
    if kind not in _SCALARS:
        raise GgufError(f"{reader.path.name}: {key} has a value of the unknown type {kind}")
    (value,) = reader.unpack(_SCALARS[kind])
    # A float of 32 bits as it was written: 1e-05, and not 9.999999747378752e-06.
    return float(f"{value:.7g}") if _SCALARS[kind] == "f" else value


def _skipped_list(reader: _Reader, key: str) -> _List:
    kind, count = reader.unpack("IQ")
    found = _List(kind, count, reader.at)
    if kind == _STRING:
        for _ in range(count):
            reader.skip(*reader.unpack("Q"))
    elif kind in _SCALARS:
        reader.skip(count * struct.calcsize(f"<{_SCALARS[kind]}"))
    else:
        raise GgufError(f"{reader.path.name}: {key} is a list of the unknown type {kind}")
    return found


def _tensor(reader: _Reader) -> tuple[str, StoredTensor]:
    name = reader.string()
    (num_dimensions,) = reader.unpack("I")
    if not 1 <= num_dimensions <= _MAX_DIMENSIONS:
        raise GgufError(
            f"{reader.path.name}: {name!r} has {num_dimensions} dimensions; 1 to {_MAX_DIMENSIONS} are read"
        )
    shape = tuple(reversed(reader.unpack(f"{num_dimensions}Q")))
    number, offset = reader.unpack("IQ")
    kind = TENSOR_TYPES.get(number)
    if kind is None:
        known = ", ".join(known.name for known in TENSOR_TYPES.values())
        raise GgufError(f"{reader.path.name}: {name!r} is of type {number}, which is not read; types that are: {known}")
    if shape[-1] % kind.block:
        raise GgufError(f"{reader.path.name}: {name!r} has rows of {shape[-1]}; {kind.name} has blocks of {kind.block}")
    return name, StoredTensor(shape, kind, offset)


def _check_size(path: Path, tensors: Mapping[str, StoredTensor], size: int) -> None:
    ends = {name: tensor.start + tensor.num_bytes for name, tensor in tensors.items()}
    last = max(ends, key=ends.__getitem__, default=None)
    if last is not None and ends[last] > size:
        raise GgufError(f"{path.name} was cut off: {last!r} ends at byte {ends[last]:,}, the file at {size:,}")


class _Reader:
    """A place in a mapped file. Numbers are little-endian."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise GgufError(f"{path.name} cannot be read: {error}") from error
        self.size = len(self._bytes)

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BufferError):
            self._bytes.close()

    def take(self, count: int) -> bytes:
        start = self.at
        self.skip(count)
        return self._bytes[start : self.at]

    def skip(self, count: int) -> None:
        if count > self.size - self.at:
            raise GgufError(
                f"{self.path.name} was cut off: its header wants {count:,} bytes from byte {self.at:,} on, and the "
                f"file has {self.size:,}"
            )
        self.at += count

    def unpack(self, form: str) -> tuple[Any, ...]:
        start, form = self.at, f"<{form}"
        self.skip(struct.calcsize(form))
        return struct.unpack_from(form, self._bytes, start)

    def string(self) -> str:
        (length,) = self.unpack("Q")
        start = self.at
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise GgufError(f"{self.path.name}: the string at byte {start:,} is not UTF-8") from error
