"""One request's way through the service: model, place, stream, end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

from app.core.logging import label_log_lines
from app.services.diffusion.content_filter.content_filter import filtered_input
from app.services.diffusion.content_filter.in_force import ContentFilters
from app.services.diffusion.errors import GenerationFailed, GenerationTimeout, Refusal, ServiceError
from app.services.diffusion.metadata import AnswerMetadata
from app.services.diffusion.model_events import Ended
from app.services.diffusion.model_stream import model_event, opened
from app.services.diffusion.models import (
    DiffusionInfillingParams,
    DiffusionStreamEvent,
    GivenAsIds,
    Operation,
)
from app.services.diffusion.reading import Asked
from app.services.diffusion.reading_request import ReadingRequest
from app.services.diffusion.requests.admission import AdmissionGate
from app.services.diffusion.requests.call import Part
from app.services.diffusion.requests.facts import Facts
from app.services.diffusion.requests.line_ends import with_plain_line_ends
from app.services.diffusion.requests.reply import Reply, Send
from app.services.diffusion.requests.stats import Outcome, RunReport, Statistics
from app.services.diffusion.residency.routing import Choice, Fit, Router
from app.services.diffusion.state import ServiceState

logger = logging.getLogger(__name__)


class Run:
    """Carries out one request, once. It is counted once, however it ends."""

    def __init__(
        self,
        params: Asked,
        part: Part,
        *,
        state: ServiceState,
        filters: ContentFilters,
        router: Router,
        gate: AdmissionGate,
        statistics: Statistics,
    ) -> None:
        self.request_id = part.request_id
        self._call = part.call
        self._params = params
        self._state = state
        self._filters = filters
        self._router = router
        self._gate = gate
        self._statistics = statistics
        self._facts = Facts(self.request_id, is_of_ids=isinstance(params, GivenAsIds))
        self._reply = Reply(params, self._facts)
        self._arrival_s = 0.0
        self._queue_time_s: float | None = None
        self._first_text_s: float | None = None
        self._is_enough = False

    def suffice(self) -> None:
        """Takes what there is by now for the answer: if it is given up, it counts as a success."""
        self._is_enough = True

    async def execute(self, emit: Send) -> DiffusionStreamEvent:
        """Emits every event but the last, and returns that one: when it is seen, place and counters are settled.

        Raises:
            ServiceError: anything that stands in the way; GenerationTimeout carries the text so far.
        """
        self._arrival_s = asyncio.get_running_loop().time()
        self._statistics.begin()
        label_log_lines(self.request_id)
        outcome, code = Outcome.FAILED, ""
        try:
            complete = await self._within_deadline(emit)
            outcome = Outcome.SUCCESSFUL
            return complete
        except asyncio.CancelledError:
            # Where another generation of the call was refused, this one is given up for the same mistake.
            given_up = Outcome.SUCCESSFUL if self._is_enough else Outcome.CANCELLED
            outcome = Outcome.REFUSED if self._call.is_refused else given_up
            raise
        except Refusal as error:
            outcome, code = Outcome.REFUSED, error.code
            self._statistics.refuse(self._call, code)
            raise
        except ServiceError as error:
            code = error.code
            raise
        finally:
            self._count(self._report(outcome, code))

    def progress(self) -> dict[str, int]:
        """Tokens so far, under the names that the metadata of the last event has for them."""
        return {
            "prompt_tokens": self._facts.num_prompt_tokens or 0,
            "truncated_prompt_tokens": self._facts.num_truncated,
            "tokens_generated": self._reply.num_kept_tokens,
        }

    # -- the way -----------------------------------------------------------------------------------------------------

    async def _within_deadline(self, emit: Send) -> DiffusionStreamEvent:
        timeout_s = self._state.in_force().timeout_seconds
        try:
            async with asyncio.timeout_at(self._arrival_s + timeout_s):
                return await self._guarded(emit)
        except TimeoutError:
            raise GenerationTimeout(
                f"no complete answer within timeout_seconds={timeout_s:g}; ask for less, or try again later",
                partial_text=self._reply.partial_text,
            ) from None

    async def _guarded(self, emit: Send) -> DiffusionStreamEvent:
        """Turns what a model throws on accident into an error that shows a client nothing of the inside."""
        try:
            examined = self._router.examine(self._params)  # a mistake is one also where there is no room
            with self._gate.arrival():
                return await self._answer(examined, emit)
        except ServiceError:
            _raise_if_cancelled()
            raise
        except Exception as error:
            _raise_if_cancelled()
            logger.exception("a model broke while answering", extra=self._log_fields())
            model_id = self._facts.model_id
            raise GenerationFailed(f"model {model_id!r} broke while answering; the server's log says why") from error

    async def _answer(self, examined: Fit | None, emit: Send) -> DiffusionStreamEvent:
        filters = self._filters.in_force()
        self._reply.pass_through(filters)
        params = await filtered_input(self._params, filters)
        async with self._router.chosen(params, examined) as choice:
            self._facts.requested_model, self._facts.model_id = choice.requested_model, choice.model.model_id
            async with self._gate.place():
                await self._read_stream(choice, emit)
        return DiffusionStreamEvent(type="complete", metadata={**self._metadata_of_end()})

    async def _read_stream(self, choice: Choice, emit: Send) -> None:
        params = choice.prepared.params
        self._facts.device = self._facts.home_device = choice.model.device
        self._facts.seed = None if isinstance(params, ReadingRequest) else params.seed
        plain = replace(choice.prepared, params=with_plain_line_ends(params))

        async def send(event: DiffusionStreamEvent) -> None:
            self._note(event)
            await emit(event)

        async with opened(choice.model, plain) as stream:
            async for item in stream:
                _raise_if_cancelled()
                event = model_event(item)
                await self._reply.feed(event, send)
                if self._reply.is_stopped or isinstance(event, Ended):
                    break
        _raise_if_cancelled()
        await self._reply.finish(send)

    def _note(self, event: DiffusionStreamEvent) -> None:
        if event.type == "start":
            self._queue_time_s = self._elapsed_s()
            self._statistics.count_use(model_id=self._facts.model_id, device=self._facts.device)
        elif event.type == "token" and self._first_text_s is None:
            self._first_text_s = self._elapsed_s()

    # -- the end -----------------------------------------------------------------------------------------------------

    def _metadata_of_end(self) -> AnswerMetadata:
        return self._facts.of_end(
            num_tokens=self._reply.num_tokens,
            stop_string=self._reply.stop_string,
            queue_time_s=self._queue_time_s or 0.0,
            processing_time_s=self._elapsed_s(),
        )

    def _report(self, outcome: Outcome, code: str) -> RunReport:
        facts = self._facts
        return RunReport(
            outcome=outcome,
            request_id=self.request_id,
            operation=_operation(self._params),
            processing_time_s=self._elapsed_s(),
            code=code,
            requested_model=facts.requested_model,
            model_id=facts.model_id,
            device=facts.device,
            queue_time_s=self._queue_time_s,
            first_text_s=self._first_text_s,
            num_tokens=self._reply.num_tokens,
            num_denoising_steps=facts.num_denoising_steps or 0,
        )

    def _count(self, report: RunReport) -> None:
        self._statistics.end(report)
        outcome = report.outcome.value
        fields = self._log_fields() | {"outcome": outcome, "processing_time_s": round(report.processing_time_s, 4)}
        if report.code:
            fields["code"] = report.code
        logger.info("request %s", outcome, extra=fields)

    def _log_fields(self) -> dict[str, Any]:
        return {"request_id": self.request_id, "model_id": self._facts.model_id or None}

    def _elapsed_s(self) -> float:
        return asyncio.get_running_loop().time() - self._arrival_s


def _operation(params: Asked) -> Operation:
    if isinstance(params, ReadingRequest):
        return "read"
    return "infill" if isinstance(params, DiffusionInfillingParams) else "generate"


def _raise_if_cancelled() -> None:
    """A model that swallows its cancellation does not get away with it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
