"""A family is declared, not compared: whoever needs to know something of one asks its declaration."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from app.services.diffusion.families.registry import TEXT_FAMILIES

APP = Path(__file__).parents[2] / "app"
DECLARATIONS = {APP / "engine" / "families", APP / "services" / "diffusion" / "families"}
EMBEDDED = APP / "services" / "diffusion" / "residency" / "catalog.py"
"""Names the embedded models, which are called like their families."""
ROOMS = ("engine/request", "engine/decoding", "engine/passes", "services")
"""Rooms where no name of a family belongs at all. Elsewhere networks name themselves in errors, and help texts the
embedded models."""


def names_in(node: ast.AST) -> Iterator[int]:
    """Lines with a family's name, in any case."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and str(part.value).lower() in TEXT_FAMILIES:
            yield part.lineno


def compared_in(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.Match):
            yield from names_in(node)


def test_no_family_is_named_outside_the_declarations() -> None:
    found = []
    for path in sorted(APP.rglob("*.py")):
        if path.parent in DECLARATIONS or path == EMBEDDED:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lines = names_in(tree) if any(path.is_relative_to(APP / room) for room in ROOMS) else compared_in(tree)
        found += [f"{path.relative_to(APP)}:{line}" for line in lines]
    assert found == []


def test_a_comparison_would_be_found() -> None:
    assert list(compared_in(ast.parse("x = 1\nif family in ('dream', 'DreamOn'): pass"))) == [2, 2]
