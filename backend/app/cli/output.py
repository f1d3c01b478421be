"""Prints a stream: the text, the canvas as it denoises, or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from app.cli.notes import note
from app.cli.terminal import end_line, glyphs, is_drawable, write

if TYPE_CHECKING:
    from reynard_diffusion import DiffusionStreamEvent, EventStream, GenerationResult

Form: TypeAlias = Literal["live", "plain", "json", "jsonl"]


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of the output to a command, which gets a `form`."""

    @click.option("--json", "is_json", is_flag=True, help="Print the result as one JSON object.")
    @click.option("--jsonl", is_flag=True, help="Print every event as a line of JSON, the canvas after each step too.")
    @click.option("--plain", is_flag=True, help="Print the text only, also in a terminal.")
    @wraps(command)
    def with_form(*args: Any, is_json: bool, jsonl: bool, plain: bool, **options: Any) -> Any:
        asked: Form | None = "json" if is_json else "jsonl" if jsonl else "plain" if plain else None
        # A terminal that can move its cursor shows the canvas; everything else gets plain text.
        return command(*args, form=asked or ("live" if is_drawable() else "plain"), **options)

    return with_form


def stream_mode(form: Form) -> Literal["text", "canvas"]:
    """The server's `stream_mode` for a form of output."""
    return "canvas" if form in ("live", "jsonl") else "text"


def show(stream: EventStream, form: Form, *, prefix: str, suffix: str = "") -> GenerationResult:
    """Prints a stream while it arrives: the new text, and in a terminal the given text around it."""
    if form == "live":
        return _show_live(stream, prefix, suffix)
    if form == "json":
        click.echo(as_json(stream.result()))
    elif form == "jsonl":
        for event in stream:
            click.echo(as_json(event))
    else:
        _show_plain(stream)
    return stream.result()


def as_json(answer: DiffusionStreamEvent | GenerationResult) -> str:
    """An answer as one line of JSON."""
    return json.dumps(asdict(answer), ensure_ascii=False, separators=(",", ":"))


def _show_plain(stream: EventStream) -> None:
    for event in stream:
        if event.type == "token":
            write(event.data)
    end_line(stream.result().text)


def _show_live(stream: EventStream, prefix: str, suffix: str) -> GenerationResult:
    from rich.console import Console
    from rich.live import Live

    from app.cli.canvas import CanvasState
    from app.cli.drawing import CanvasDrawing, final_text

    console = Console(highlight=False)
    state = CanvasState()
    drawing = CanvasDrawing(state, prefix, suffix, glyphs())
    try:
        with Live(console=console, get_renderable=lambda: drawing, refresh_per_second=15, transient=True):
            for event in stream:
                state.follow(event)
    finally:
        # An answer that broke off stays on the screen too.
        console.print(final_text(prefix, state.text, suffix), soft_wrap=True)
    result = stream.result()
    note(summary(result))
    return result


def summary(result: GenerationResult) -> str:
    """One line about an answer: model, device, tokens, time, steps, seed."""
    facts = result.metadata
    # A user's own model need not count its steps.
    steps = f"{facts['denoising_steps']} steps, " if facts.get("denoising_steps") else ""
    return (
        f"{result.model_id} on {facts['device']}: {result.tokens_generated} tokens in {result.processing_time:.2f} s, "
        f"{steps}seed {facts['seed']}"
    )
