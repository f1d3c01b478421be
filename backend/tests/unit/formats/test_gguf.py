from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.formats.gguf import GgufError, read_header
from tests.profiles import examples


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


VALUES = (
    string("general.architecture") + struct.pack("<I", 8) + string("toy"),
    string("toy.size") + struct.pack("<II", 4, 7),
    string("toy.epsilon") + struct.pack("<If", 6, 1e-5),
    string("toy.names") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("ö"),
    string("toy.kinds") + struct.pack("<IIQ3i", 9, 5, 3, 1, -2, 3),
)


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def content(*tensors: bytes, numbers: bytes = b"", version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(VALUES)) + b"".join((*VALUES, *tensors))
    return head + bytes(-len(head) % 32) + numbers


WHOLE = content(tensor("x", (4, 2), 0, 0), tensor("q", (32, 3), 8, 32), numbers=bytes(32 + 102))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "toy.gguf"


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(GgufError) as caught:
        read_header(path)
    return str(caught.value)


@pytest.mark.parametrize("version", [2, 3])
def test_values_lists_and_places_are_read(path: Path, version: int) -> None:
    path.write_bytes(WHOLE.replace(struct.pack("<I", 3), struct.pack("<I", version), 1))
    header = read_header(path)
    assert header.value("general.architecture", str) == "toy"
    assert (header.value("toy.size", int), header.value("toy.epsilon", float)) == (7, 1e-5)
    assert (header.strings("toy.names"), header.numbers("toy.kinds")) == (["a", "ö"], [1, -2, 3])
    assert (header.strings("absent"), header.numbers("absent"), header.value("absent", int, 5)) == ([], [], 5)
    x, q = header.tensors["x"], header.tensors["q"]
    assert (x.shape, x.kind.name, x.num_bytes) == ((2, 4), "F32", 32)
    assert (q.shape, q.kind.name, q.num_bytes, q.start - x.start) == ((3, 32), "Q8_0", 102, 32)
    assert q.start + q.num_bytes == len(WHOLE)


@examples(60)
@given(length=st.integers(0, len(WHOLE) - 1))
def test_a_file_that_was_cut_off_anywhere_is_refused(length: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    said = refused(tmp_path_factory.mktemp("cut") / "toy.gguf", WHOLE[:length])
    assert "toy.gguf" in said


def test_a_cut_is_told_with_the_numbers(path: Path) -> None:
    size = len(WHOLE)
    assert refused(path, WHOLE[:-1]) == f"toy.gguf was cut off: 'q' ends at byte {size:,}, the file at {size - 1:,}"


@examples(60)
@given(at=st.integers(4, len(WHOLE) - 140), byte=st.integers(0, 255))
def test_a_byte_that_was_changed_is_read_or_refused(
    at: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("changed") / "toy.gguf"
    path.write_bytes(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
    with suppress(GgufError):  # and no other error
        read_header(path).strings("toy.names")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04" + bytes(40), "is no GGUF file: it does not begin with GGUF"),
        (b"", "cannot be read"),
        (content(version=1), "it is of version 1; versions 2 and 3, little-endian, are read"),
        (content(version=3 << 24), "its numbers are big-endian"),
        (content(tensor("x", (4,), 99, 0)), "'x' is of type 99, which is not read; types that are: F32, F16, Q4_0"),
        (content(tensor("x", (33,), 8, 0)), "'x' has rows of 33; Q8_0 has blocks of 32"),
        (content(tensor("x", (1, 1, 1, 1, 1), 0, 0)), "'x' has 5 dimensions; 1 to 4 are read"),
        (content(*[tensor("x", (4,), 0, 0)] * 2, numbers=bytes(16)), "holds a tensor twice"),
        (WHOLE.replace(string("toy.size") + struct.pack("<I", 4), string("toy.size") + struct.pack("<I", 77)),
         "toy.size has a value of the unknown type 77"),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused(data: bytes, said: str, path: Path) -> None:
    assert said in refused(path, data)


def test_values_of_another_kind_are_refused(path: Path) -> None:
    path.write_bytes(WHOLE)
    header = read_header(path)
    with pytest.raises(GgufError, match=r"toy\.size is 7, which is of another kind"):
        header.value("toy.size", str)
    with pytest.raises(GgufError, match=r"toy\.kinds is no list of strings"):
        header.strings("toy.kinds")
    with pytest.raises(GgufError, match=r"toy\.names is no list of numbers"):
        header.numbers("toy.names")
