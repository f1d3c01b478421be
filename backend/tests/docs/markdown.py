"""Pages of the documentation, taken apart: fenced blocks, links and anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "backend" / "README.md",
    ROOT / "backend" / "reynard_diffusion" / "README.md",
    ROOT / "training" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]

FENCE = re.compile(r"^ *```", re.MULTILINE)
FENCED = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>(?:(?!-->).)+) -->\s*\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
INLINE_CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    place: str
    """Page and line, for messages."""
    language: str
    text: str
    reason: str | None
    """Why it cannot be run here, from the comment above it: `<!-- not run: needs a GPU -->`."""


def blocks(page: str, name: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(
            place=f"{name}:{page.count(chr(10), 0, match.start('language')) + 1}",
            language=match["language"],
            text=dedent(match["text"]),
            reason=match["reason"],
        )
        for match in FENCED.finditer(page)
    ]


def links(page: str) -> Iterator[str]:
    """The targets of links and images on the page, as they are written."""
    yield from LINK.findall(INLINE_CODE.sub("", prose(page)))


def anchors(page: str) -> set[str]:
    """The anchors of the page, as GitHub makes them from headings."""
    found: set[str] = set()
    for heading in HEADING.findall(prose(page)):
        words = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        repeated = (f"{words}-{number}" for number in range(1, len(found) + 1))
        found.add(words if words not in found else next(name for name in repeated if name not in found))
    return found


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return FENCED.sub("", page)
