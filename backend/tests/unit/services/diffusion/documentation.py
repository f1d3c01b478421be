"""Examples from the documentation, so that tests can run them."""

from __future__ import annotations

import re
from pathlib import Path

OPERATIONS = Path(__file__).parents[5] / "docs" / "operations.md"


def documented(language: str) -> str:
    """The example in this language that stands in the section on the content filter."""
    _, section = OPERATIONS.read_text(encoding="utf-8").split("## Content filter\n")
    (example,) = re.findall(rf"```{language}\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    return str(example)
