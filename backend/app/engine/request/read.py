"""A request that reads canvases instead of writing on one: how probable are tokens at the positions that it names?

Its canvases lie end to end in one pass, beside those of running generations. More than one pass takes are read in
further passes, a part in each; nothing depends on that, since every canvas is known from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.engine.decoding.rules import LogitRules, Score
from app.engine.decoding.step import Prediction
from app.engine.device.memory import Need
from app.engine.interface.errors import InvalidRequest
from app.engine.interface.events import CanvasesRead, Finished, FinishReason, PositionRead
from app.engine.interface.params import ReadCanvas, ReadRequest
from app.engine.models.adapters import Adapter
from app.engine.models.base import ModelConfig
from app.engine.passes.work import SequenceInput, Work
from app.engine.request.life import OnEvent, RequestLife, Status

MAX_ROWS = 256
"""The rows of one pass; a canvas that has more has a pass of its own."""

_RULES = LogitRules(Score.PROBABILITY, 0.0, None, None, scores_see_filters=False)
"""The model's own distribution."""


class ReadState(RequestLife):
    """Reads all canvases of a request, then sends `CanvasesRead`.

    Raises (on creation):
        InvalidRequest: a canvas does not suit this checkpoint.
    """

    request: ReadRequest

    def __init__(
        self, request: ReadRequest, config: ModelConfig, on_event: OnEvent, adapter: Adapter | None = None
    ) -> None:
        super().__init__(on_event)
        _validate(request, config)
        self.request = request
        self._adapter = adapter
        self._parts = list(_parts(request))
        self._read: list[PositionRead] = []

    @property
    def max_tokens(self) -> int:
        """See `RequestLife`."""
        return max(sum(len(canvas.ids) for canvas in part) for part in self._parts)

    @property
    def max_rows(self) -> int:
        """See `RequestLife`."""
        return max(sum(len(canvas.positions) for canvas in part) for part in self._parts)

    @property
    def need(self) -> Need:
        """See `RequestLife`; nothing is cached."""
        return Need(self.max_tokens, self.max_rows)

    def start(self) -> None:
        """See `RequestLife`."""
        self.move_to(Status.RUNNING)
        self.work = self._work()

    def advance(self, predicted: Prediction) -> None:
        """See `RequestLife`."""
        self._count(predicted)
        top = [best.top for best in predicted.logprobs] or [()] * len(predicted.scored)
        self._read += map(PositionRead, predicted.scored, top)
        if self.nfe < len(self._parts):
            self.work = self._work()
        else:
            self.send(CanvasesRead(self.request.request_id, tuple(self._read)))
            self.move_to(Status.FINISHED)

    def finished_event(self, device: str) -> Finished:
        """See `RequestLife`; no token is new."""
        return Finished(self.request.request_id, FinishReason.STOP, 0, self.nfe, device)

    def _work(self) -> Work:
        part = self._parts[self.nfe]
        return Work(
            tuple(SequenceInput(canvas.ids, canvas.positions, adapter=self._adapter) for canvas in part),
            _RULES,
            num_logprobs=self.request.num_top or None,
            scored_ids=tuple(ids for canvas in part for ids in canvas.scored_ids),
        )


def _parts(request: ReadRequest) -> Iterator[list[ReadCanvas]]:
    """Cuts canvases into passes. Canvases of 1000, 1000 and 1000 tokens: two, and one."""
    part: list[ReadCanvas] = []
    num_tokens = num_rows = 0
    for canvas in request.canvases:
        num_tokens, num_rows = num_tokens + len(canvas.ids), num_rows + len(canvas.positions)
        if part and (num_tokens > request.max_pass_tokens or num_rows > MAX_ROWS):
            yield part
            part, num_tokens, num_rows = [], len(canvas.ids), len(canvas.positions)
        part.append(canvas)
    yield part


def _validate(request: ReadRequest, config: ModelConfig) -> None:
    if not request.canvases:
        raise InvalidRequest("there is no canvas to read; give one at least")
    for canvas in request.canvases:
        if len(canvas.ids) > config.context_length:
            raise InvalidRequest(f"a canvas of {len(canvas.ids)} tokens exceeds the context of {config.context_length}")
        if len(canvas.positions) != len(canvas.scored_ids) or not canvas.positions:
            raise InvalidRequest("a canvas needs a position to read, and a tuple of ids for each")
        if any(not 0 <= position < len(canvas.ids) for position in canvas.positions):
            raise InvalidRequest(f"a position to read is outside a canvas of {len(canvas.ids)} tokens")
        ids = (*canvas.ids, *(token_id for scored in canvas.scored_ids for token_id in scored))
        if any(not 0 <= token_id < config.vocab_size for token_id in ids):
            raise InvalidRequest(f"a token id is outside the vocabulary of {config.vocab_size}")
