"""Writes the table of parameters in docs/decoding.md from their rows: `python docs/build_parameter_table.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin, is_typeddict

from app.core.parameters import ENGINE_NAMES, PARAMETERS, TYPES, Parameter
from app.engine.families.registry import family_named
from app.services.diffusion.families.registry import TEXT_FAMILIES

TARGET = Path(__file__).parent / "decoding.md"

BEGINNING, END = "<!-- made by docs/build_parameter_table.py -->\n", "<!-- end -->\n"


def table() -> str:
    """One line a parameter, as they are listed in `app/core/parameters.py`."""
    lines = ["| parameter | values | default | for |", "|---|---|---|---|"]
    for name, row in PARAMETERS.items():
        default = "" if row.default is None else f"`{row.default}`"
        lines.append(f"| `{name}` | {_values(TYPES[name], row)} | {default} | {_families(name)} |")
    return "\n".join([*lines, ""])


def _values(kind: Any, row: Parameter) -> str:
    if kind is bool:
        return "true, false"
    if get_origin(kind) is dict:
        return "an object: [ids and biases](#penalties-and-biases)"
    if is_typeddict(kind):
        return "an object: [constraints](constraints.md)"
    if row.characters is not None:
        return f"up to {row.characters} characters"
    if row.gt is not None:
        return f"above {row.gt}, up to {row.le}"
    if row.ge is not None:
        return f"{row.ge} to {row.le}"
    words = [f"`{word}`" for word in get_args(kind) if isinstance(word, str)]
    return ", ".join(words) or "a text, or several"


def _families(name: str) -> str:
    if name not in ENGINE_NAMES:  # what the service does for any model
        return "all"
    taking = [family for family in TEXT_FAMILIES if family_named(family).takes(ENGINE_NAMES[name])]
    return "all" if len(taking) == len(TEXT_FAMILIES) else ", ".join(taking)


def built() -> str:
    """The page with the table for this version of the rows."""
    before, _, rest = TARGET.read_text(encoding="utf-8").partition(BEGINNING)
    _, _, after = rest.partition(END)
    return f"{before}{BEGINNING}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    TARGET.write_text(built(), encoding="utf-8")
