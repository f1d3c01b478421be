"""The options that say what an answer has to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from app.cli.failure import Failure
from app.cli.text_input import text_of_file
from app.cli.types import TEXT


def constraint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a constraint to a command, which gets a `constraint`: an empty dictionary, or one that holds
    it as the service's field of that name."""

    @click.option(
        "--schema", type=click.Path(path_type=Path), help="The answer is JSON that is valid by the schema in this file."
    )
    @click.option("--regex", type=TEXT, help="The answer matches this regular expression from beginning to end.")
    @click.option("--choice", type=TEXT, multiple=True, help="The answer is this text; several: one of them.")
    @wraps(command)
    def with_constraint(
        *args: Any, schema: Path | None, regex: str | None, choice: Sequence[str], **options: Any
    ) -> Any:
        return command(*args, constraint=_constraint(schema, regex, choice), **options)

    return with_constraint


def _constraint(schema: Path | None, regex: str | None, choices: Sequence[str]) -> dict[str, Any]:
    if sum((schema is not None, regex is not None, bool(choices))) > 1:
        raise click.UsageError("give one of --schema, --regex and --choice; an answer obeys one constraint")
    if schema is not None:
        return {"constraint": {"json_schema": _schema_in(schema)}}
    if regex is not None:
        return {"constraint": {"regex": regex}}
    return {"constraint": {"choices": list(choices)}} if choices else {}


def _schema_in(path: Path) -> Any:
    """The JSON of a file; the server says whether it is a schema.

    Raises:
        Failure: the file cannot be read, or is no JSON.
    """
    try:
        return json.loads(text_of_file(path))
    except (ValueError, RecursionError) as error:
        raise Failure(f"{path} is no JSON: {error}") from error
