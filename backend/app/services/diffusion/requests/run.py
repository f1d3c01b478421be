"""One request's way through the service: model, place, stream, end."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from app.core.logging import label_log_lines
from app.core.settings import DiffusionConfig
from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.content_filter.content_filter import ContentFilter, FilteredOutput, filtered_input
from app.services.diffusion.errors import (
    GenerationFailed,
    GenerationTimeout,
    InvalidParameters,
    Refusal,
    ServiceError,
)
from app.services.diffusion.models import (
    DiffusionInfillingParams,
    DiffusionStreamEvent,
    DiffusionTokensParams,
    Params,
)
from app.services.diffusion.requests.admission import AdmissionGate
from app.services.diffusion.requests.answer import Answer
from app.services.diffusion.requests.call import Part
from app.services.diffusion.requests.line_ends import line_ends_around, step_with, token_with, with_plain_line_ends
from app.services.diffusion.requests.stats import Outcome, RunReport, Statistics
from app.services.diffusion.residency.routing import Choice
from app.text.line_ends import Joint

Emit: TypeAlias = Callable[[DiffusionStreamEvent], Awaitable[None]]

_TOLD: dict[str, Callable[[Any], Any]] = {
    "device": str,
    "prompt_tokens": int,
    "truncated_prompt_tokens": int,
    "prompt_text": str,
    "denoising_steps": int,
    "tokens_generated": int,
    "finish_reason": str,
}
"""What a model may say in the metadata of its events; anything else it says there is not passed on."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Facilities:
    """What the service lends to every run."""

    current_config: Callable[[], DiffusionConfig]
    """Raises ServiceDisabled."""
    examine: Callable[[Params], None]
    """Raises the Refusal of a mistake that can be seen without waiting for anything."""
    choose: Callable[[Params], Awaitable[Choice]]
    gate: AdmissionGate
    statistics: Statistics
    content_filters: Callable[[], Sequence[ContentFilter]]


class Run:
    """Carries out one request, once. It is counted once, however it ends."""

    def __init__(self, params: Params, facilities: Facilities, part: Part) -> None:
        self.request_id = part.request_id
        self._call = part.call
        self._params = params
        self._facilities = facilities
        self._line_ends = line_ends_around(params)
        self._answer = Answer(params.stop_strings, self._line_ends.line_end)
        self._output = FilteredOutput()
        self._joint = Joint(self._line_ends)
        self._facts: dict[str, Any] = {"request_id": self.request_id}  # what the service knows
        self._told: dict[str, Any] = {}  # what the model says in the metadata of its events
        self._has_started = False
        self._arrival_s = 0.0
        self._queue_time_s = 0.0
        self._first_text_s: float | None = None

    async def execute(self, emit: Emit) -> DiffusionStreamEvent:
        """Emits every event but the last, and returns that one: when it is seen, place and counters are settled.

        Raises:
            ServiceError: anything that stands in the way; GenerationTimeout carries the text so far.
        """
        self._arrival_s = asyncio.get_running_loop().time()
        self._facilities.statistics.begin()
        label_log_lines(self.request_id)
        outcome, code = Outcome.FAILED, ""
        try:
            complete = await self._within_deadline(emit)
            outcome = Outcome.SUCCESSFUL
            return complete
        except asyncio.CancelledError:
            # Where another generation of the call was refused, this one is given up for the same mistake.
            outcome = Outcome.REFUSED if self._call.is_refused else Outcome.CANCELLED
            raise
        except Refusal as error:
            outcome, code = Outcome.REFUSED, error.code
            self._facilities.statistics.refuse(self._call, code)
            raise
        except ServiceError as error:
            code = error.code
            raise
        finally:
            self._count(self._report(outcome, code))

    # -- the way -----------------------------------------------------------------------------------------------------

    async def _within_deadline(self, emit: Emit) -> DiffusionStreamEvent:
        timeout_s = self._facilities.current_config().timeout_seconds
        try:
            async with asyncio.timeout_at(self._arrival_s + timeout_s):
                return await self._guarded(emit)
        except TimeoutError:
            raise GenerationTimeout(
                f"no complete answer within timeout_seconds={timeout_s:g}; ask for less, or try again later",
                partial_text=self._line_ends.opening + self._output.text if self._output.text else "",
            ) from None

    async def _guarded(self, emit: Emit) -> DiffusionStreamEvent:
        """Turns what a model throws on accident into an error that tells a client nothing of the inside."""
        try:
            self._facilities.examine(self._params)  # a mistake is one also where there is no room
            with self._facilities.gate.arrival():
                return await self._choose_and_answer(emit)
        except ServiceError:
            _raise_if_cancelled()
            raise
        except Exception as error:
            _raise_if_cancelled()
            logger.exception("a model broke while answering", extra=self._log_fields())
            model_id = self._facts.get("model_id", "")
            raise GenerationFailed(f"model {model_id!r} broke while answering; the server's log says why") from error

    async def _choose_and_answer(self, emit: Emit) -> DiffusionStreamEvent:
        filters = self._facilities.content_filters()
        if filters and self._params.logprobs is not None:
            raise InvalidParameters(
                "logprobs tell what a content filter hides, and one is in force; leave them out", field="logprobs"
            )
        if filters and isinstance(self._params, DiffusionTokensParams):
            raise InvalidParameters(
                "token ids cannot be read by the content filter that is in force; send the text itself",
                field="token_ids",
            )
        self._output = FilteredOutput(filters)
        choice = await self._facilities.choose(await filtered_input(self._params, filters))
        self._facts["requested_model"] = choice.requested_model
        with choice.model as model:
            self._facts["model_id"] = model.model_id
            async with self._facilities.gate.place():
                await self._read_stream(model, choice.params, emit)
        return DiffusionStreamEvent(type="complete", metadata=self._complete_metadata())

    async def _read_stream(self, model: DiffusionModel, params: Params, emit: Emit) -> None:
        device = model.device
        self._facts |= {"device": device, "seed": params.seed}
        async with opened(model, with_plain_line_ends(params)) as stream:
            async for event in stream:
                _raise_if_cancelled()
                await self._take(event, params, emit)
                if self._answer.is_stopped or event.type == "complete":
                    break
        _raise_if_cancelled()
        await self._start(emit)
        await self._tell(await self._output.feed(self._answer.flush()), emit)
        await self._tell(await self._output.flush(), emit)
        await self._send(self._joint.flush(), emit)
        self._note_where_it_ran(device)

    async def _take(self, event: DiffusionStreamEvent, params: Params, emit: Emit) -> None:
        if not isinstance(event, DiffusionStreamEvent):
            raise TypeError(f"a model's stream yields DiffusionStreamEvent, not {type(event).__name__}")
        if event.type == "error":
            raise GenerationFailed(str(event.data))
        self._told |= {
            name: cast_to(event.metadata[name])
            for name, cast_to in _TOLD.items()
            if event.metadata.get(name) is not None
        }
        await self._start(emit)
        if event.type == "token":
            logprobs = event.metadata.get("logprobs", ()) if params.logprobs is not None else ()
            text = self._answer.feed(event.data, int(event.metadata.get("tokens", 1)), logprobs)
            await self._tell(await self._output.feed(text), emit)
        elif event.type == "step" and params.stream_mode == "canvas":
            data = await self._output.filter_step(step_with(self._line_ends, event.data))
            if data is not None:
                await emit(DiffusionStreamEvent(type="step", data=data))

    def _note_where_it_ran(self, device: str) -> None:
        """Not on the model's device, if that had no room for it or no longer."""
        self._facts["device"] = self._told.get("device", device)
        if self._facts["device"] != device:
            self._facts["moved_from"] = device

    async def _start(self, emit: Emit) -> None:
        if self._has_started:
            return
        self._has_started = True
        self._queue_time_s = self._elapsed_s()
        self._facts["device"] = self._told.get("device") or self._facts["device"]
        self._facilities.statistics.count_use(model_id=self._facts["model_id"], device=self._facts["device"])
        facts = {name: self._facts[name] for name in ("request_id", "model_id", "device", "seed")}
        metadata = {**facts, "prompt_tokens": self._told.get("prompt_tokens"), **self._prompt_text()}
        await emit(DiffusionStreamEvent(type="start", metadata=metadata))

    async def _tell(self, text: str, emit: Emit) -> None:
        await self._send(self._joint.feed(text), emit)

    async def _send(self, text: str, emit: Emit) -> None:
        if text:
            self._first_text_s = self._elapsed_s() if self._first_text_s is None else self._first_text_s
            logprobs = [
                {**token_with(self._line_ends, noted), "offset": self._joint.num_added + offset}
                for offset, noted in self._answer.take_notes()
            ]
            metadata = {"logprobs": logprobs} if logprobs else {}
            await emit(DiffusionStreamEvent(type="token", data=text, metadata=metadata))

    # -- the end -----------------------------------------------------------------------------------------------------

    def _complete_metadata(self) -> dict[str, Any]:
        processing_time_s = self._elapsed_s()
        num_tokens = self._num_tokens()
        answering_s = processing_time_s - self._queue_time_s
        return {
            **self._facts,
            "prompt_tokens": self._told.get("prompt_tokens"),
            "truncated_prompt_tokens": self._told.get("truncated_prompt_tokens", 0),
            "denoising_steps": self._told.get("denoising_steps"),
            "finish_reason": "stop" if self._answer.is_stopped else self._told.get("finish_reason", "stop"),
            "stop_string": self._answer.stop_string,
            **self._prompt_text(),
            "tokens_generated": num_tokens,
            "tokens_per_second": round(num_tokens / answering_s, 2) if answering_s > 0 else 0.0,
            "queue_time": round(self._queue_time_s, 4),
            "processing_time": round(processing_time_s, 4),
        }

    def _prompt_text(self) -> dict[str, str]:
        """Of a prompt that was given as ids."""
        is_of_ids = isinstance(self._params, DiffusionTokensParams)
        return {"prompt_text": self._told["prompt_text"]} if is_of_ids and "prompt_text" in self._told else {}

    def progress(self) -> dict[str, int]:
        """Tokens so far, under the names that the metadata of the last event has for them."""
        return {
            "prompt_tokens": self._told.get("prompt_tokens") or 0,
            "truncated_prompt_tokens": self._told.get("truncated_prompt_tokens", 0),
            "tokens_generated": self._answer.num_tokens,
        }

    def _num_tokens(self) -> int:
        """A model that ended by itself knows its count best: tokens may have no text of their own."""
        told = self._told.get("tokens_generated")
        return self._answer.num_tokens if self._answer.is_stopped or told is None else told

    def _report(self, outcome: Outcome, code: str) -> RunReport:
        return RunReport(
            outcome=outcome,
            request_id=self.request_id,
            operation="infill" if isinstance(self._params, DiffusionInfillingParams) else "generate",
            processing_time_s=self._elapsed_s(),
            code=code,
            requested_model=self._facts.get("requested_model", ""),
            model_id=self._facts.get("model_id", ""),
            device=self._facts.get("device", ""),
            queue_time_s=self._queue_time_s if self._has_started else None,
            first_text_s=self._first_text_s,
            num_tokens=self._num_tokens(),
            num_denoising_steps=self._told.get("denoising_steps", 0),
        )

    def _count(self, report: RunReport) -> None:
        self._facilities.statistics.end(report)
        outcome = report.outcome.value
        fields = self._log_fields() | {"outcome": outcome, "processing_time_s": round(report.processing_time_s, 4)}
        if report.code:
            fields["code"] = report.code
        logger.info("request %s", outcome, extra=fields)

    def _log_fields(self) -> dict[str, Any]:
        return {"request_id": self.request_id, "model_id": self._facts.get("model_id")}

    def _elapsed_s(self) -> float:
        return asyncio.get_running_loop().time() - self._arrival_s


@asynccontextmanager
async def opened(model: DiffusionModel, params: Params) -> AsyncIterator[AsyncIterator[DiffusionStreamEvent]]:
    """The model's stream, closed in any case, so that the model releases what it holds."""
    if isinstance(params, DiffusionInfillingParams):
        stream = model.infill_stream(params)
    else:
        stream = model.generate_stream(params)
    if inspect.isawaitable(stream):  # an `async def` that returns its iterator is a natural way to write one
        stream = await stream
    try:
        yield stream
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def _raise_if_cancelled() -> None:
    """A model that swallows its cancellation does not get away with it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
