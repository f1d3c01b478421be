"""Writes the client's type of parameters from their rows: `python docs/build_client_parameters.py`."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from app.core.parameters import PARAMETERS, TYPES, ConstraintBody, Parameter, Parameters

TARGET = Path(__file__).parents[1] / "backend" / "reynard_diffusion" / "parameters.py"

LINE = 120
HEAD = '''"""The parameters of a request, made from app/core/parameters.py by docs/build_client_parameters.py."""

from __future__ import annotations

from typing import Any, Literal, TypedDict
'''


def built() -> str:
    """The file for this version of the rows."""
    constraint = [f"    {name}: {_source(kind)}" for name, kind in get_type_hints(ConstraintBody).items()]
    rows = [line for name, row in PARAMETERS.items() for line in _lines(name, row)]
    return "\n\n".join([HEAD, _class(ConstraintBody, constraint), _class(Parameters, rows)])


def _class(kind: type, lines: list[str]) -> str:
    head = [f"class {kind.__name__}(TypedDict, total=False):", f'    """{kind.__doc__}"""', ""]
    return "\n".join([*head, *lines, ""])


def _lines(name: str, row: Parameter) -> list[str]:
    bounds = _bounds(row)
    text = f'"""`{name}`{bounds and f" ({bounds})"}: {row.description}"""'
    return [f"    {name}: {_source(TYPES[name])}", fill(text, LINE, initial_indent="    ", subsequent_indent="    ")]


def _bounds(row: Parameter) -> str:
    if row.characters is not None:
        return f"up to {row.characters} characters"
    if row.gt is not None:
        return f"above {row.gt}, up to {row.le}"
    return "" if row.ge is None else f"{row.ge} to {row.le}"


def _source(kind: Any) -> str:
    """The source text of a type."""
    parts = [_source(part) for part in get_args(kind)] if get_origin(kind) is not Literal else []
    if get_origin(kind) is UnionType:
        return " | ".join(parts)
    if get_origin(kind) is Literal:
        words = ", ".join(f'"{word}"' for word in get_args(kind))
        return f"Literal[{words}]"
    name: str = (get_origin(kind) or kind).__name__
    return f"{name}[{', '.join(parts)}]" if parts else name


if __name__ == "__main__":
    TARGET.write_text(built(), encoding="utf-8")
