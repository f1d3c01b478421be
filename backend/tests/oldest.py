"""The oldest releases that requirements admit, as constraints for pip.

    python -m tests.oldest torch > oldest.txt && pip install -c oldest.txt -r requirements.txt ...

Arguments name packages to leave out: PyTorch, whose builds for a CPU are not where pip looks for the rest.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Container
from pathlib import Path

from packaging.requirements import Requirement

BACKEND = Path(__file__).parents[1]
EXTRAS = ("train", "otel", "nf4", "gguf")


def requirements() -> list[Requirement]:
    """The requirements of the server and of its extras, as this project writes them."""
    lines = (BACKEND / "requirements.txt").read_text(encoding="utf-8").splitlines()
    extras = tomllib.loads((BACKEND / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    wanted = [line for line in lines if line and not line.startswith("#")]
    return [Requirement(text) for text in [*wanted, *(text for extra in EXTRAS for text in extras[extra])]]


def oldest(requirement: Requirement) -> str | None:
    """The lower bound of a requirement."""
    return next((bound.version for bound in requirement.specifier if bound.operator == ">="), None)


def constraints(left_out: Container[str] = ()) -> list[str]:
    return [f"{each.name}=={oldest(each)}" for each in requirements() if each.name not in left_out]


if __name__ == "__main__":
    sys.stdout.write("\n".join(constraints(sys.argv[1:])) + "\n")
