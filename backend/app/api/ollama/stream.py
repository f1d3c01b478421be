"""An answer as a stream: a JSON object a line."""

from __future__ import annotations

from typing import Any

from app.api.ollama.answers import Form
from app.api.ollama.errors import error_of_code
from app.api.streams.framing import JSON_LINES
from app.api.wire.json_encoding import json_bytes
from app.services.diffusion import DiffusionStreamEvent
from app.services.diffusion.metadata import answer_metadata


class Lines:
    """The framing of one call. Its sign of life is a line without text: clients break at an empty one.

    Args:
        model_id: the model that is asked, until one answers.
    """

    media_type = JSON_LINES

    def __init__(self, form: Form, model_id: str) -> None:
        self._form = form
        self._model_id = model_id
        self.keep_alive = line(form.piece(model_id, ""))

    def write(self, index: int, event: DiffusionStreamEvent) -> bytes:
        match event.type:
            case "start":
                self._model_id = event.metadata["model_id"]
                return b""
            case "token":
                return line(self._form.piece(self._model_id, event.data, event.metadata.get("logprobs", ())))
            case "complete":
                return line(self._form.end(answer_metadata(event.metadata)))
            case "error":
                return line(error_of_code(event.metadata["code"], event.data))
        return b""

    def end(self) -> bytes:
        return b""


def line(value: Any) -> bytes:
    """A JSON object on a line of its own."""
    return json_bytes(value) + b"\n"
