"""The distributions of this project, built as pip builds them, and environments that have one of them alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Literal
from zipfile import ZipFile

from packaging.requirements import Requirement

from tests.docs.markdown import ROOT

BACKEND = ROOT / "backend"
CLIENT = BACKEND / "reynard_diffusion"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")

Kind = Literal["wheel", "sdist", "editable"]

BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, 'build_' + sys.argv[1])(sys.argv[2]))"


def built(source: Path, target: Path, kind: Kind) -> Path:
    """The distribution of a source tree."""
    target.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", BUILD, kind, str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True)
    return target / done.stdout.splitlines()[-1]


def client_source(target: Path) -> Path:
    """A copy of the client's source, in which a build may leave files."""
    return shutil.copytree(CLIENT, target, ignore=LEFT_OUT)


class Environment:
    """A virtual environment without pip, into which distributions of the tests' own environment can be lent."""

    def __init__(self, home: Path) -> None:
        venv.create(home, symlinks=True)
        self.python = home / "bin" / "python"
        self.packages = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))

    def lend(self, names: Iterable[str]) -> None:
        """Links to distributions and all that they require."""
        ours = Path(sysconfig.get_path("purelib"))
        for name in with_requirements(names):
            for top in {file.parts[0] for file in distribution(name).files or ()} - {"..", "__pycache__"}:
                (self.packages / top).symlink_to(ours / top)

    def lend_everything(self) -> None:
        """Makes the packages of the tests' environment importable, but for what is installed there as editable."""
        (self.packages / "required.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def install(self, *options: str | Path) -> None:
        """Installs from files alone; pip refuses if a requirement is missing."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet", "--no-index"]
        subprocess.run([*pip, *map(str, options)], capture_output=True, check=True)

    def unpack(self, wheel: Path) -> None:
        """Does what pip does with a wheel that has no commands, in no time."""
        with ZipFile(wheel) as archive:
            archive.extractall(self.packages)


def with_requirements(names: Iterable[str]) -> set[str]:
    """The names of distributions, and of those that they require."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            required = map(Requirement, distribution(name).requires or ())
            waiting += [each.name for each in required if not each.marker or each.marker.evaluate({"extra": ""})]
    return found
