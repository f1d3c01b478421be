"""The events of a request, in order: Admitted, Step…, and exactly one of Finished, Cancelled, Failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from app.engine.interface.errors import EngineError


class FinishReason(Enum):
    """Why a request finished by itself."""

    STOP = "stop"
    """The model ended the text, or filled the span between prefix and suffix with room to spare."""
    LENGTH = "length"
    """`max_new_tokens` ended it; also where a span took all of them, for it might have wanted more."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A mask became a token."""

    index: int
    """Position in the snapshot of the same step, before its expansions and deletions."""
    token_id: int
    confidence: float
    """Probability of the token as the sampler saw it."""


@dataclass(frozen=True, slots=True)
class CanvasSnapshot:
    """The new part of a canvas after a step: the given text around it never changes and is left out."""

    ids: tuple[int, ...]
    """Token ids of the new part, in reading order; `mask_id` where undecided. Includes earlier rounds."""
    mask_id: int
    commits: tuple[Commit, ...]
    """Indices count from the start of the new part, before expansions and deletions."""
    expanded: tuple[int, ...]
    """Indices, as in `commits`, that became two masks."""
    deleted: tuple[int, ...]
    """Indices, as in `commits`, that vanished."""
    revoked: tuple[int, ...] = ()
    """Indices, as in `commits`, of earlier commits that are masks again."""
    forced: tuple[int, ...] | None = None
    """Indices, as in `commits`, of those for which the constraint left no other token; `None` without a constraint."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request has joined the running batch."""

    request_id: str
    device: str
    num_truncated: int
    """Tokens of the given text that did not fit the context length and were left out."""


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-softmax of the model's logits at the position and in the step in which a token was committed."""

    logprob: float
    """Log-probability of the token itself."""
    top: tuple[tuple[int, float], ...]
    """Token ids with the highest log-probabilities, in falling order."""
    forced: bool | None = None
    """Whether the constraint left no other token for the position; `None` without a constraint."""
    step: int = 0
    """The step of the request that committed it, from 1 on."""
    num_changes: int = 0
    """Earlier commits of the position that were taken back for another token."""


@dataclass(frozen=True, slots=True)
class Step:
    """A denoising step was carried out. Sent when there is something new: final tokens or a snapshot."""

    request_id: str
    new_final: tuple[int, ...]
    """Token ids that have become final in this step, in reading order. Ids of the end of text are not among them."""
    nfe: int
    """Forward passes used so far."""
    snapshot: CanvasSnapshot | None
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One per id in `new_final`, where the request asks for them."""


@dataclass(frozen=True, slots=True)
class PositionRead:
    """Log-softmax of the model's logits at one position of a `ReadCanvas`."""

    scored: tuple[float, ...]
    """Log-probability of each id that was asked for."""
    top: tuple[tuple[int, float], ...]
    """Token ids with the highest log-probabilities, in falling order."""


@dataclass(frozen=True, slots=True)
class CanvasesRead:
    """All canvases of a `ReadRequest` were read."""

    request_id: str
    positions: tuple[PositionRead, ...]
    """The wanted positions of all canvases, in the order of the request."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The request came to its end."""

    request_id: str
    reason: FinishReason
    num_tokens: int
    """New tokens before the end of the text; equals the number of ids in all `new_final`."""
    nfe: int
    device: str
    """The device of its last step: not the one where it was admitted, if that ran out of memory on the way."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The request was aborted; its room is free."""

    request_id: str
    nfe: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The request ended with an error."""

    request_id: str
    error: EngineError
    nfe: int


EngineEvent = Admitted | Step | CanvasesRead | Finished | Cancelled | Failed
