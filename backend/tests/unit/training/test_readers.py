from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from training import readers
from training.functions import functions_of
from training.readers import jargon_articles, pydoc_topics, stdlib_files

LONG = "words that go on for as long as a paragraph of prose would go on"
DICTIONARY = f"""\
00-database-info
    short note

frob /frob/
    1. To change a thing “idly”; see
    {{  twiddle}}. It has {LONG}.

    cf. tweak

    A second paragraph — also with {LONG}.

na\u00efve
    A paragraph with a sign that is not ASCII, \u00ef, and {LONG}.
"""


def test_the_jargon_reader_keeps_paragraphs_and_makes_their_signs_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "usr/share/dictd"
    folder.mkdir(parents=True)
    (folder / "jargon.dict.dz").write_bytes(gzip.compress(DICTIONARY.encode()))
    monkeypatch.setattr(readers, "fetch", lambda package: tmp_path)
    monkeypatch.setattr(readers, "unpack_debian", lambda archive: archive)
    [article] = jargon_articles()
    assert article == [
        f'1. To change a thing "idly"; see twiddle. It has {LONG}.',
        f"A second paragraph - also with {LONG}.",
    ]


def test_the_manual_pages_give_prose_without_headings_and_listings() -> None:
    paragraphs = [paragraph for page in pydoc_topics() for paragraph in page]
    assert len(paragraphs) > 300
    assert not any("***" in paragraph or "===" in paragraph or "\n" in paragraph for paragraph in paragraphs)
    assert all(paragraph[0].isupper() for paragraph in paragraphs)


def test_the_interpreters_own_library_gives_functions_and_no_tests() -> None:
    files = dict(stdlib_files())
    assert "textwrap.py" in files
    assert not any("test" in Path(name).parts or "site-packages" in name for name in files)
    assert len(list(functions_of(files["textwrap.py"], 3, 8))) > 3
