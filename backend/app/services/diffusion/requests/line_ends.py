r"""Line ends of requests and answers: a model sees `\n` alone, the client gets what it sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.services.diffusion.content_filter.canvas import Step
from app.services.diffusion.models import DiffusionChatParams, DiffusionInfillingParams
from app.services.diffusion.reading import Asked
from app.services.diffusion.reading_request import ReadingRequest
from app.text.line_ends import LineEnds, LineEndWriter, to_lf


def line_ends_around(params: Asked) -> LineEnds:
    """The line ends that the answer gets: those of the text to continue, of both sides of a gap, or of all messages.
    A constraint is about the very characters, so under one they stay as they are written."""
    if isinstance(params, ReadingRequest) or params.constraint is not None:
        return LineEnds()
    if isinstance(params, DiffusionInfillingParams):
        return LineEnds.around(params.prefix, params.suffix)
    if isinstance(params, DiffusionChatParams):
        # An answer begins a turn of its own, so there is no line end that it could complete.
        return LineEnds(LineEnds.around("".join(f"{message.content} " for message in params.messages)).line_end)
    return LineEnds.around(params.text)


def with_plain_line_ends(params: Asked) -> Asked:
    r"""The request as a model sees it, with `\n` at the end of every line."""
    if isinstance(params, DiffusionChatParams):
        return params.with_contents([to_lf(message.content) for message in params.messages])
    if isinstance(params, ReadingRequest):
        return params.with_texts([to_lf(text) for text in params.all_texts])
    fields = ("prefix", "suffix") if isinstance(params, DiffusionInfillingParams) else ("text",)
    return params.model_copy(update={field: to_lf(getattr(params, field)) for field in fields})


def token_with(line_ends: LineEnds, noted: Mapping[str, Any]) -> dict[str, Any]:
    """The notes on a token and its alternatives, their texts and bytes as the client sees them."""
    top = {"top": [_named_with(line_ends, other) for other in noted["top"]]} if "top" in noted else {}
    return _named_with(line_ends, noted) | top


def step_with(line_ends: LineEnds, data: Any) -> Any:
    """The data of a step event with the client's line ends; a user's model may draw its canvas as it likes."""
    if not isinstance(data, dict) or Step.of(data) is None:
        return data
    written = dict(data)
    if "canvas" in data:
        written["canvas"] = _canvas_with(line_ends, data["canvas"])
    if "committed" in data:
        written["committed"] = [{**each, "text": line_ends.written(each["text"])} for each in data["committed"]]
    return written


def _named_with(line_ends: LineEnds, noted: Mapping[str, Any]) -> dict[str, Any]:
    if "\n" not in noted["token"] and "\r" not in noted["token"]:
        return dict(noted)
    # The bytes may end inside a character.
    octets = line_ends.written(bytes(noted["bytes"]).decode("latin-1")).encode("latin-1")
    return {**noted, "token": line_ends.written(noted["token"]), "bytes": list(octets)}


def _canvas_with(line_ends: LineEnds, canvas: Sequence[str | None]) -> list[str | None]:
    writer = LineEndWriter(line_ends.line_end)
    return [None if text is None else writer.feed(text) for text in canvas]
