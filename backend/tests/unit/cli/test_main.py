from __future__ import annotations

import subprocess
import sys

import click
import pytest

from app.cli.main import COMMANDS, program
from app.cli.table import table


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_says_what_it_does(name: str) -> None:
    command = program.get_command(click.Context(program), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_help_imports_nothing_heavy() -> None:
    """Help is printed at once because it imports nothing heavy."""
    heavy = ["torch", "pydantic", "httpx", "rich", "reynard_diffusion"]
    code = (
        f"import sys; from app.cli.main import main; main(); print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert all(f"{name} " in done.stdout for name in COMMANDS)


def test_a_table_is_as_wide_as_it_must_be() -> None:
    assert table([("MODEL", "MB", ""), ("a", "7.5", "x"), ("longer", "15.2", "")]) == (
        "MODEL     MB\na        7.5  x\nlonger  15.2"
    )
