from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions

from packaging.utils import canonicalize_name

from tests.oldest import BACKEND, constraints, oldest, requirements

BY_OTHERS = {"annotated_types", "pydantic_core", "requests"}
"""Packages that belong to one that is required: to pydantic, and to the exporter of traces."""
OWN = {"app", "reynard_diffusion", "reynard_diffusion_server", *sys.stdlib_module_names}
EXTRAS = {"ray", "lm_eval"}


def imported() -> Iterator[str]:
    for path in (BACKEND / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module


def test_every_requirement_has_a_lower_bound_to_be_tried() -> None:
    assert [each.name for each in requirements() if oldest(each) is None] == []
    assert all("==" in line for line in constraints())
    assert not any(line.startswith("torch==") for line in constraints(["torch"]))


def test_what_is_imported_is_required_by_name() -> None:
    """A package that comes with another one today may be missing, or another release, tomorrow."""
    known = {canonicalize_name(each.name) for each in requirements()}
    names = {name.partition(".")[0] for name in imported()} - OWN - BY_OTHERS - EXTRAS
    homes = packages_distributions()
    missing = {name for name in names if not known & {canonicalize_name(home) for home in homes.get(name, [name])}}
    assert missing == set()
