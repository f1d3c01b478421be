"""Every page does what it says: its blocks run or give a reason, its links lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.serving import Server
from tests.docs.markdown import FENCE, PAGES, ROOT, anchors, blocks, links
from tests.docs.reader import SERVER_URL, Reader

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.fixture
def reader(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SERVER_URL, server.url)
    reader = Reader(server.url, tmp_path)
    yield reader
    reader.close()


@every_page
def test_blocks_run_or_give_a_reason(reader: Reader, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = blocks(text, page.name)
    assert 2 * len(found) == len(FENCE.findall(text))
    for block in found:
        reader.follow(block)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in links(page.read_text(encoding="utf-8")) if not leads_somewhere(page, link)]
    assert broken == []


def leads_somewhere(page: Path, link: str) -> bool:
    """Addresses of other hosts are believed."""
    if "://" in link or link.startswith("mailto:"):
        return True
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target.read_text(encoding="utf-8")))


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link).resolve() for link in links(index.read_text(encoding="utf-8"))}
    assert {page for page in PAGES if page not in linked} == {index}
