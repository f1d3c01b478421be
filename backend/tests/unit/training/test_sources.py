"""Packages in the cache, with several processes that want the same one at once."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from training import sources
from training.sources import Package, SourceError, fetch, unpack_debian

CONTENT = b"words " * 1000
PACKAGE = Package("words", "debian", "MIT", sha256=hashlib.sha256(CONTENT).hexdigest())


def slow_download(package: Package, folder: Path) -> None:
    with (folder / f"{package.name}_1_all.deb").open("wb") as file:
        for start in range(0, len(CONTENT), 1000):
            file.write(CONTENT[start : start + 1000])
            file.flush()
            time.sleep(0.01)


def test_whoever_fetches_beside_another_gets_the_whole_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_download", slow_download)

    def fetched(late_s: float) -> bytes:
        time.sleep(late_s)
        return fetch(PACKAGE, tmp_path).read_bytes()

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(fetched, (0, 0.02, 0.04))) == {CONTENT}
    assert [path.name for path in (tmp_path / "debian").iterdir()] == ["words_1_all.deb"]


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(package: Package, folder: Path) -> None:
        (folder / f"{package.name}_1_all.deb").write_bytes(CONTENT[:10])
        raise SourceError("the line went dead")

    monkeypatch.setattr(sources, "_download", broken)
    with pytest.raises(SourceError, match="the line went dead"):
        fetch(PACKAGE, tmp_path)
    assert not list((tmp_path / "debian").iterdir())


def test_another_archive_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_download", lambda _, folder: (folder / "words_1_all.deb").write_bytes(b"others"))
    with pytest.raises(SourceError, match=r"the recipe pins .*: delete it to retry"):
        fetch(PACKAGE, tmp_path)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_an_archive_is_unpacked_once_whoever_comes_first(tmp_path: Path) -> None:
    control = tmp_path / "source" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text("Package: words\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: words\n")
    (tmp_path / "source" / "list").write_bytes(CONTENT)
    archive = tmp_path / "cache" / "words_1_all.deb"
    archive.parent.mkdir()
    subprocess.run(["dpkg-deb", "-b", "--root-owner-group", str(tmp_path / "source"), str(archive)], check=True)
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(unpack_debian, [archive] * 4))
    assert {(folder / "list").read_bytes() for folder in folders} == {CONTENT}
    assert sorted(path.name for path in archive.parent.iterdir()) == ["words_1_all", "words_1_all.deb"]
