"""The way of a model's events to the client: through stop strings, line ends and the content filter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from app.services.diffusion.content_filter.content_filter import ContentFilter, FilteredOutput
from app.services.diffusion.model_events import CanvasStep, ModelEvent, Piece
from app.services.diffusion.models import DiffusionStreamEvent
from app.services.diffusion.reading import Asked
from app.services.diffusion.requests.answer import Answer
from app.services.diffusion.requests.facts import Facts
from app.services.diffusion.requests.line_ends import line_ends_around, step_with, token_with
from app.text.line_ends import Joint

Send: TypeAlias = Callable[[DiffusionStreamEvent], Awaitable[None]]


class Reply:
    """One answer: feed it the model's events, then let it finish.

    Args:
        facts: takes in what the events report.
    """

    def __init__(self, params: Asked, facts: Facts) -> None:
        self._facts = facts
        self._shows_steps = params.stream_mode == "canvas"
        self._shows_logprobs = params.logprobs is not None
        self._line_ends = line_ends_around(params)
        self._answer = Answer(params.stop_strings, self._line_ends.line_end)
        self._is_constrained = params.constraint is not None
        self._output = FilteredOutput()
        self._joint = Joint(self._line_ends)
        self._has_started = False

    def pass_through(self, filters: Sequence[ContentFilter]) -> None:
        """Says, before the first event, which filters the answer passes."""
        self._output = FilteredOutput(filters, is_constrained=self._is_constrained)

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string has ended it."""
        return self._answer.is_stopped

    @property
    def stop_string(self) -> str | None:
        """The stop string that has ended it."""
        return self._answer.stop_string

    @property
    def num_kept_tokens(self) -> int:
        """Tokens of the text before a stop string, so far."""
        return self._answer.num_tokens

    @property
    def num_tokens(self) -> int:
        """Tokens so far. A model that ended by itself knows its count best: tokens may have no text of their own."""
        reported = self._facts.num_tokens
        return self._answer.num_tokens if self._answer.is_stopped or reported is None else reported

    @property
    def partial_text(self) -> str:
        """All that has passed the filters so far."""
        return self._line_ends.opening + self._output.text if self._output.text else ""

    async def feed(self, event: ModelEvent, send: Send) -> None:
        """Sends what the client gets because of an event of the model.

        Raises:
            ContentRejected: a filter refuses the answer.
        """
        self._facts.take(event)
        await self._start(send)
        if isinstance(event, Piece):
            text = self._answer.feed(event.text, event.num_tokens, event.logprobs if self._shows_logprobs else ())
            await self._send_text(self._joint.feed(await self._output.feed(text)), send)
        elif isinstance(event, CanvasStep) and self._shows_steps:
            data = await self._output.filter_step(step_with(self._line_ends, event.data))
            if data is not None:
                await send(DiffusionStreamEvent(type="step", data=data))

    async def finish(self, send: Send) -> None:
        """Sends the events that were held back, when the model has ended or need not go on. Raises as `feed` does."""
        await self._start(send)
        await self._send_text(self._joint.feed(await self._output.feed(self._answer.flush())), send)
        await self._send_text(self._joint.feed(await self._output.flush()), send)
        await self._send_text(self._joint.flush(), send)

    async def _start(self, send: Send) -> None:
        if not self._has_started:
            self._has_started = True
            await send(DiffusionStreamEvent(type="start", metadata={**self._facts.of_start()}))

    async def _send_text(self, text: str, send: Send) -> None:
        if text:
            logprobs = [self._placed(offset, noted) for offset, noted in self._answer.take_notes()]
            metadata = {"logprobs": logprobs} if logprobs else {}
            await send(DiffusionStreamEvent(type="token", data=text, metadata=metadata))

    def _placed(self, offset: int, noted: Mapping[str, Any]) -> dict[str, Any]:
        return {**token_with(self._line_ends, noted), "offset": self._joint.num_added + offset}
