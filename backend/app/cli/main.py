"""The program `reynard-diffusion`: its commands, and their exit codes."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module

import click

from app.cli import exit_codes

PROGRAM = "reynard-diffusion"

COMMANDS = {
    "serve": "Start the server.",
    "generate": "Continue a text.",
    "infill": "Fill the gap in a text or a file.",
    "chat": "Talk with a model.",
    "decide": "Answer questions about a text by probabilities.",
    "models": "List the models that answer.",
    "pull": "Download a checkpoint.",
    "bench": "Measure how fast a model answers.",
    "doctor": "Say what is wrong with this machine or its settings.",
    "completion": "Print the completion script of a shell.",
}


class Commands(click.Group):
    """A group that imports a command when it is called, so that help is printed at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"app.cli.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=PROGRAM, prog_name=PROGRAM)
def program() -> None:
    """Diffusion language models: serve them, and ask them.

    The commands that ask talk to the server at --url. Where none is named and none runs at http://localhost:8000, they
    answer from their own process.

    Exit codes: 0 success, 1 failure, 2 wrong usage, 3 no server reachable, 130 interrupted.
    """


def main() -> int:
    """Runs the command line of this process; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Line ends stay as they are, and a character that a terminal cannot show must not end the program.
            stream.reconfigure(errors="replace", newline="\n")
    try:
        code = program.main(prog_name=PROGRAM, standalone_mode=False, color=False if "NO_COLOR" in os.environ else None)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return exit_codes.INTERRUPTED
    return code or exit_codes.OK
