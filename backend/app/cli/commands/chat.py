"""The command `reynard-diffusion chat`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import click

from app.cli import exit_codes
from app.cli.constraint import constraint_options
from app.cli.failure import Failure
from app.cli.notes import note
from app.cli.parameters import parameter_options
from app.cli.target import Target, connected, target_options
from app.cli.terminal import end_line, write
from app.cli.text_input import decoded
from app.cli.types import TEXT
from app.services.diffusion.models import Sampling

if TYPE_CHECKING:
    from reynard_diffusion import DiffusionClient


class Conversation:
    """The turns of a conversation with a model."""

    def __init__(self, client: DiffusionClient, system: str | None, parameters: dict[str, Any]) -> None:
        self._client = client
        self._beginning = [{"role": "system", "content": system}] if system else []
        self._turns = list(self._beginning)
        self._parameters = parameters

    def reset(self) -> None:
        self._turns = list(self._beginning)

    def say(self, text: str) -> None:
        """Prints the answer piece by piece; Ctrl-C ends it, and the text until then belongs to the conversation.

        Raises:
            DiffusionError: there is no answer; the conversation is as it was.
        """
        turns = [*self._turns, {"role": "user", "content": text}]
        answer = ""
        try:
            with closing(self._client.chat_stream(turns, **self._parameters)) as pieces:
                for piece in pieces:
                    write(piece)
                    answer += piece
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
        click.echo()
        self._turns = [*turns, {"role": "assistant", "content": answer}]


@click.command("chat")
@click.option("--model", type=TEXT, help="Which model answers; default the server's.")
@click.option("--max-tokens", type=click.IntRange(1), help="Length of an answer at most.")
@click.option("--system", type=TEXT, help="What the model is told first.")
@click.option(
    "--thinking/--no-thinking", default=None, help="Whether a model whose chat template knows of that thinks first."
)
@constraint_options
@target_options
@parameter_options(Sampling)
@click.pass_context
def command(
    ctx: click.Context,
    model: str | None,
    max_tokens: int | None,
    system: str | None,
    thinking: bool | None,
    constraint: dict[str, Any],
    target: Target,
    parameters: dict[str, Any],
) -> None:
    """Talk with a model, line by line. It is given everything that was said before.

    /reset forgets that, /exit or Ctrl-D leaves, Ctrl-C ends an answer. Without a terminal every line of standard input
    is a turn.
    """
    from reynard_diffusion import DiffusionError, ServerUnreachable

    given = {"model": model, "max_tokens": max_tokens, "enable_thinking": thinking}
    own = {name: value for name, value in given.items() if value is not None}
    has_failed = False
    with connected(target) as client:
        conversation = Conversation(client, system, parameters | own | _as_chat_takes(constraint))
        for line in _lines():
            if line == "/exit":
                break
            if line == "/reset":
                conversation.reset()
                note("forgotten")
                continue
            try:
                conversation.say(line)
            except ServerUnreachable:
                raise
            except DiffusionError as error:
                has_failed = True
                note(f"Error: {error}")
    if has_failed:
        ctx.exit(exit_codes.FAILED)


def _as_chat_takes(constraint: dict[str, Any]) -> dict[str, Any]:
    """The constraint of every answer, in the words of `/v1/chat/completions`."""
    names = {"json_schema": "json", "regex": "regex", "choices": "choice"}
    given = {names[kind]: value for kind, value in constraint.get("constraint", {}).items()}
    return {"structured_outputs": given} if given else {}


def _lines() -> Iterator[str]:
    """The user's lines, without empty ones."""
    read = _asked if sys.stdin.isatty() else _read
    while line := read():
        if text := line.strip():
            yield text


def _read() -> str:
    return decoded(sys.stdin.buffer.readline(), "standard input")


def _asked() -> str:
    with suppress(ImportError):
        import readline  # noqa: F401 - lends `input` its arrow keys
    try:
        return input("> ") + "\n"
    except UnicodeDecodeError as error:
        raise Failure(f"this is no text in UTF-8: {error.reason}; see what the terminal sends") from error
    except EOFError:
        end_line("")
        return ""
