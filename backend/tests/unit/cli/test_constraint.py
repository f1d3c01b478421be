from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from app.cli.constraint import constraint_options


@click.command()
@constraint_options
def ask(constraint: dict[str, Any]) -> None:
    click.echo(repr(constraint))


def asked(*arguments: str) -> Result:
    return CliRunner().invoke(ask, arguments)


def test_each_option_is_a_constraint(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "object"}', encoding="utf-8")
    for arguments, constraint in (
        ((), None),
        (("--schema", str(file)), {"json_schema": {"type": "object"}}),
        (("--regex", "a+"), {"regex": "a+"}),
        (("--choice", "a", "--choice", "b"), {"choices": ["a", "b"]}),
    ):
        expected = {} if constraint is None else {"constraint": constraint}
        assert asked(*arguments).output == f"{expected}\n"


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--regex", "a", "--choice", "b"), "give one of --schema, --regex and --choice", 2),
        (("--schema", "not-there.json"), "not-there.json cannot be read", 1),
        (("--schema", "broken.json"), "broken.json is no JSON", 1),
    ],
)
def test_what_is_no_constraint_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str, code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    done = asked(*arguments)
    assert done.exit_code == code
    assert message in f"{done.output}{done.exception}"
