"""Reads the texts in the fetched packages: novels, a dictionary of slang, Python files.

Two readers need no package: the manual pages and the library of the interpreter that runs them.
"""

from __future__ import annotations

import gzip
import re
import struct
import sysconfig
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from training.sources import fetch, package_named, unpack_debian

MIN_PARAGRAPH_CHARS = 60
"""The length below which paragraphs of the Jargon File are headings, cross-references and lines of verse."""


def austen_paragraphs() -> Iterator[list[str]]:
    """The chapters of the six novels: the paragraphs of each, one line per paragraph."""
    folder = unpack_debian(fetch(package_named("r-cran-janeaustenr")))
    [database] = folder.glob("usr/lib/R/site-library/janeaustenr/data/Rdata.rdb")
    for lines in _r_character_vectors(database.read_bytes()):
        text = "\n".join(lines)
        for chapter in re.split(r"\n\s*(?:CHAPTER|Chapter|VOLUME)\b[^\n]*\n", text)[1:]:
            yield [" ".join(part.split()) for part in re.split(r"\n\s*\n", chapter) if part.strip()]


def _r_character_vectors(database: bytes) -> Iterator[list[str]]:
    """The character vectors in an R lazy-load database: chunks of 4-byte length and zlib stream (R Internals, 1.8)."""
    position = 0
    while position < len(database):
        stream = zlib.decompressobj()
        chunk = stream.decompress(database[position + 4 :])
        position = len(database) - len(stream.unused_data)
        yield list(_r_strings(chunk))


def _r_strings(chunk: bytes) -> Iterator[str]:
    """The strings of a serialised vector: after header, type and count, each is 4 bytes of flags, a length, bytes."""
    header = 2 + 3 * 4 + 4 + struct.unpack_from(">i", chunk, 14)[0]
    count = struct.unpack_from(">i", chunk, header + 4)[0]
    position = header + 8
    for _ in range(count):
        length = struct.unpack_from(">i", chunk, position + 4)[0]
        yield chunk[position + 8 : position + 8 + length].decode("utf-8")
        position += 8 + length


_PLAIN_SIGNS = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "-", "–": "-", "…": "...", "{": "", "}": ""})


def jargon_articles() -> Iterator[list[str]]:
    """The entries of the Jargon File: the paragraphs of explanation of each, one line per paragraph."""
    folder = unpack_debian(fetch(package_named("dict-jargon")))
    text = gzip.decompress((folder / "usr/share/dictd/jargon.dict.dz").read_bytes()).decode("utf-8")
    for entry in re.split(r"\n(?=\S)", text):
        paragraphs = [" ".join(part.split()) for part in re.findall(r"(?:^    .*\n)+", entry, re.MULTILINE)]
        plain = [re.sub(r"\{\s+", "{", paragraph).translate(_PLAIN_SIGNS) for paragraph in paragraphs]
        kept = [paragraph for paragraph in plain if paragraph.isascii() and len(paragraph) > MIN_PARAGRAPH_CHARS]
        if kept:
            yield kept


_UNDERLINED = re.compile(r"\n[*=~-]{3}")


def pydoc_topics() -> Iterator[list[str]]:
    """The interpreter's manual pages: the paragraphs of prose of each, one line per paragraph."""
    for _, text in sorted(topics.items()):
        parts = (
            part for part in re.split(r"\n\s*\n", text) if re.match("[A-Z]", part) and not _UNDERLINED.search(part)
        )
        paragraphs = [" ".join(part.split()) for part in parts]
        kept = [part for part in paragraphs if part.isascii() and len(part) > MIN_PARAGRAPH_CHARS]
        if kept:
            yield kept


# Tests repeat themselves, vendored code belongs to others, generated code is no one's style.
_LEFT_OUT = re.compile(
    r"(^|/)(tests?|testing|_?vendor(ed)?|_vendored|node_modules|site-packages)/|(^|/)test_|_pb2\.py$|lextab|parsetab"
)


def python_files(package_name: str) -> Iterator[tuple[str, str]]:
    """The path and text of each Python file of a wheel or of Debian's standard library."""
    package = package_named(package_name)
    archive = fetch(package)
    files = _wheel_files(archive) if package.kind == "wheels" else _debian_files(archive)
    for path, content in files:
        if path.endswith(".py") and not _LEFT_OUT.search(path) and content.isascii():
            yield path, content.decode("ascii")


def stdlib_files() -> Iterator[tuple[str, str]]:
    """The path and text of the modules and first-level packages of the interpreter's own standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    for path in sorted([*folder.glob("*.py"), *folder.glob("*/*.py")]):
        name = str(path.relative_to(folder))
        content = path.read_bytes()
        if not _LEFT_OUT.search(name) and content.isascii():
            yield name, content.decode("ascii")


def _wheel_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as wheel:
        for name in sorted(wheel.namelist()):
            yield name, wheel.read(name)


def _debian_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    folder = unpack_debian(archive)
    for path in sorted(folder.glob("usr/lib/python3*/**/*.py")):
        if path.is_file():  # links may lead to packages that are not fetched
            yield str(path.relative_to(folder)), path.read_bytes()
