"""The contract of a model: one class, one registration.

    class MyDiffusionModel(DiffusionModel):
        def __init__(self):
            super().__init__("my_model")

        async def initialize(self) -> bool:
            return True

        async def generate_stream(self, params):
            yield DiffusionStreamEvent(type="token", data="Hello")

    service.register_model(MyDiffusionModel())

A package can also name such a class in the entry point group `reynard_diffusion.models`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from app.engine.interface.counters import EngineCounters
from app.engine.interface.params import DecodingParams
from app.services.diffusion.decisions import DiffusionDecisionParams
from app.services.diffusion.errors import InvalidParameters, UnsupportedOperation
from app.services.diffusion.likelihood import DiffusionLikelihoodParams
from app.services.diffusion.model_events import ModelEvent
from app.services.diffusion.models import (
    Capability,
    DiffusionChatParams,
    DiffusionGenerationParams,
    DiffusionInfillingParams,
    DiffusionStreamEvent,
    GivenAsIds,
    Operation,
    Params,
    Request,
)
from app.services.diffusion.reading import Asked, DiffusionReadParams
from app.services.diffusion.reading_request import ReadingRequest
from app.services.diffusion.reports import DiffusionModelDetails, ParameterBound
from app.services.diffusion.tokens import Encoding, TokenizerFacts, Tokens

StreamItem: TypeAlias = DiffusionStreamEvent | ModelEvent
"""An item that a model may yield: an event as clients see it, or its typed form."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that a model has found that it can answer, on its way to that model."""

    params: Asked
    decoding: DecodingParams | None = None
    """The parameters in the engine's words, checked for the checkpoint; `None` for a model without an engine."""


class DiffusionModel(ABC):
    """A model that the service can serve. Everything here runs on the event loop: hand heavy work to a thread.

    A stream yields `token` events whose `data` is the next piece of final text, and may yield `start`, `step` and
    `complete`; the service adds `start` and `complete` where a model leaves them out, and everything that the
    built-in models get: validation, limits, queueing, deadline, cancellation, stop strings and statistics.
    When the caller goes away the generator is closed: release what it holds in `finally`.

    What a model knows better than the service it says in the metadata of its events; all of it is optional:
    `start` may carry `device`, `prompt_tokens` and `truncated_prompt_tokens`; a `token` event `tokens` (how many tokens
    the piece stands for, 1 by default), `denoising_steps` (so far) and `logprobs` (one object per token); `complete`
    may carry `finish_reason`, `tokens_generated`, `denoising_steps`, `device`, where it ended, and `prompt_tokens`. A
    stream may as well yield the same in typed form: `Started`, `Piece`, `CanvasStep` and `Ended` of `model_events.py`.
    """

    name: str = ""
    description: str = ""
    max_length: int = 2048
    """New tokens at most."""
    algorithms: tuple[str, ...] = ()
    """Names that `algorithm` may take; the first is the default. Empty: the parameter is refused."""
    context_length: int | None = None
    """Tokens, given and new, that it sees at a time."""
    special_tokens: tuple[str, ...] = ()
    """Texts of tokens that stand for no text, such as the end of it: some editors send one where a text is empty."""
    takes_token_ids: bool = False
    """Whether it takes a prompt of `token_ids` (`DiffusionTokensParams`, and where it infills
    `DiffusionTokensInfillingParams`), and biases for its tokens. It then says the text of such ids as `prompt_text` in
    its `start` event."""
    takes_template_options: bool = False
    """Whether it has a chat template that reads `chat_template_kwargs`, or refuses them itself."""
    gives_logprobs: bool = False
    """Whether its `token` events carry `logprobs` where a request asks for them."""
    constrains: bool = False
    """Whether its answers obey the `constraint` of a request."""
    base_id: str | None = None
    """The model whose weights it uses. That one is loaded first, and stays in memory for as long as this one does."""
    problem: str | None = None
    """Why the model cannot answer, for an operator to read. Set it before `initialize` returns `False`; a model that
    breaks down later sets it too, and others answer in its place until it is reloaded."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id

    def attach(self, base: DiffusionModel) -> None:
        """Gets the model `base_id`, loaded. Called before `initialize`, where there is a base."""

    async def initialize(self) -> bool:
        """Loads what the model needs. `False`, or an exception, makes the model unavailable until it is reloaded."""
        return True

    async def describe_itself(self) -> None:
        """Learns what can be known without loading, for a model that waits for its first request. Raises nothing."""

    @abstractmethod
    def generate_stream(self, params: DiffusionGenerationParams) -> AsyncIterator[StreamItem]:
        """An async generator of events. The service has filled in the defaults: `model_id`, `max_length`, `seed` and
        the sampling parameters are set. The other ones are `None` where the caller left them out."""

    def infill_stream(self, params: DiffusionInfillingParams) -> AsyncIterator[StreamItem]:
        """An async generator of events between a prefix and a suffix. Override it to offer infilling; a model without
        it gets a gap with nothing behind it as a text to continue."""
        raise self._cannot("infill")

    def read_stream(self, params: DiffusionReadParams) -> AsyncIterator[StreamItem]:
        """An async generator that yields `HolesRead` once, and may yield `Started` and `Ended`. Override it to offer
        reading."""
        raise self._cannot("read")

    def decide_stream(self, params: DiffusionDecisionParams) -> AsyncIterator[StreamItem]:
        """An async generator as that of `read_stream`, whose holes are the questions: each has `probabilities` of its
        options and their `label_mass`. Override it to offer decisions."""
        message = f"model {self.model_id!r} cannot decide: it reads texts with holes, and has no frame for questions"
        raise UnsupportedOperation(message, field="model_id", operation="read")

    def likelihood_stream(self, params: DiffusionLikelihoodParams) -> AsyncIterator[StreamItem]:
        """An async generator that yields `LikelihoodsRead` once, and may yield `Started` and `Ended`. Override it where
        a model that reads can say this too."""
        raise self._cannot("read")

    async def encode(self, text: Encoding) -> Tokens:
        """Gives the tokens of a text. Override it, `decode` and `describe_tokenizer` where `takes_token_ids`."""
        raise self._shows_no_tokens()

    async def decode(self, token_ids: Sequence[int]) -> str:
        """Gives the text of token ids, special ones by their names; raises InvalidParameters for ids that are none,
        about the field `token_ids`."""
        raise self._shows_no_tokens()

    async def describe_tokenizer(self) -> TokenizerFacts:
        raise self._shows_no_tokens()

    async def close(self) -> None:
        """Releases what `initialize` took. Called once no request uses the model any more; `initialize` may follow."""

    def check(self, params: Request) -> None:
        """Refuses what this model cannot take, before the request waits for its place. Extend it, calling this one.

        Raises:
            InvalidParameters: names the field, the value and what is allowed.
        """
        self.check_operation(params)
        if params.max_length is not None and params.max_length > self.max_length:
            raise InvalidParameters(
                f"max_length={params.max_length} is above {self.max_length}, the maximum of model {self.model_id!r}",
                field="max_length",
            )
        if params.algorithm is not None and params.algorithm not in self.algorithms:
            known = ", ".join(self.algorithms) or "none: leave the parameter out"
            raise InvalidParameters(
                f"algorithm={params.algorithm!r} is unknown to model {self.model_id!r}; it knows {known}",
                field="algorithm",
            )
        if isinstance(params, GivenAsIds) and not self.takes_token_ids:
            raise InvalidParameters(
                f"token ids are not taken by model {self.model_id!r}; send the text itself", field="token_ids"
            )
        if params.logit_bias and not self.takes_token_ids:
            raise InvalidParameters(
                f"logit_bias names token ids, which model {self.model_id!r} does not take; leave it out",
                field="logit_bias",
            )
        if isinstance(params, DiffusionChatParams) and not self.takes_template_options:
            self._refuse_template_options(params)
        if params.logprobs is not None and not self.gives_logprobs:
            raise InvalidParameters(f"model {self.model_id!r} gives no logprobs", field="logprobs")

    def check_operation(self, params: Request | ReadingRequest) -> None:
        """Refuses what this model cannot do, whatever the values. It may be asked of a model that is not loaded.

        Raises:
            UnsupportedOperation: names the operation.
        """
        operation = operation_of(params)
        if operation not in self.capabilities:
            raise self._cannot(operation)
        if isinstance(params, Request) and params.constraint is not None and "constrain" not in self.capabilities:
            raise self._cannot("constrain")

    def prepare_request(self, params: Asked) -> Prepared:
        """Prepares a request before it waits for its place: `check`, and for a model with an engine the same in its
        words, so that nothing is translated twice. Raises as `check` does."""
        if isinstance(params, ReadingRequest):
            self.check_operation(params)
            return Prepared(params)
        self.check(params)
        return Prepared(self.as_it_can(params))

    def as_it_can(self, params: Params) -> Params:
        """Gives a request in a form that this model can answer: a gap with nothing behind it is a text to continue."""
        if isinstance(params, DiffusionInfillingParams) and "infill" not in self.capabilities:
            return params.continuation()
        return params

    def prepared_stream(self, prepared: Prepared) -> AsyncIterator[StreamItem]:
        """The answer to a request that `prepare_request` gave, by the stream of its kind."""
        if isinstance(prepared.params, DiffusionReadParams):
            return self.read_stream(prepared.params)
        if isinstance(prepared.params, DiffusionDecisionParams):
            return self.decide_stream(prepared.params)
        if isinstance(prepared.params, DiffusionLikelihoodParams):
            return self.likelihood_stream(prepared.params)
        if isinstance(prepared.params, DiffusionInfillingParams):
            return self.infill_stream(prepared.params)
        assert isinstance(prepared.params, DiffusionGenerationParams), "nothing else is asked"
        return self.generate_stream(prepared.params)

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """The operations that it is known to answer. Whatever continues a text can chat: a conversation is one."""
        infills = type(self).infill_stream is not DiffusionModel.infill_stream
        reads = type(self).read_stream is not DiffusionModel.read_stream
        writing: tuple[Capability, ...] = ("generate", "infill", "chat") if infills else ("generate", "chat")
        others: tuple[Capability, ...] = ("constrain",) if self.constrains else ()
        return (*writing, "read", *others) if reads else (*writing, *others)

    def _refuse_template_options(self, params: DiffusionChatParams) -> None:
        asking = [name for name, value in params.chat_template_kwargs.items() if value]
        if asking:
            raise InvalidParameters(
                f"chat_template_kwargs: model {self.model_id!r} has no chat template that could read {asking[0]!r}; "
                "leave it out",
                field="chat_template_kwargs",
            )

    def _cannot(self, operation: Capability) -> UnsupportedOperation:
        if operation == "generate":
            message = f"model {self.model_id!r} cannot generate"
            return UnsupportedOperation(message, field="model_id", operation=operation)
        if operation == "read":
            message = f"model {self.model_id!r} cannot read: it says nothing of probabilities"
            return UnsupportedOperation(message, field="model_id", operation=operation)
        if operation == "constrain":
            message = f"model {self.model_id!r} cannot constrain: its answers obey no constraint"
            return UnsupportedOperation(message, field="constraint", operation=operation)
        return UnsupportedOperation(
            f"model {self.model_id!r} cannot infill: it sees no text behind a gap", field="suffix"
        )

    def _shows_no_tokens(self) -> UnsupportedOperation:
        message = f"model {self.model_id!r} shows no tokens: its texts can be asked for, and no ids"
        return UnsupportedOperation(message, field="model_id", operation="tokenize")

    @property
    def device(self) -> str:
        return "cpu"

    @property
    def memory_bytes(self) -> int:
        """Bytes of weights held on the device."""
        return 0

    @property
    def counters(self) -> EngineCounters | None:
        """The counters of its engine; `None` where it has none, or does not count."""
        return None

    def details(self) -> DiffusionModelDetails:
        """The details on the admin path; the service fills in `is_available`, `requests_served` and `error`."""
        return DiffusionModelDetails(
            model_id=self.model_id,
            name=self.name or self.model_id,
            description=self.description,
            base_model=self.base_id,
            max_length=self.max_length,
            context_length=self.context_length,
            is_available=False,
            device=self.device,
            memory_usage=round(self.memory_bytes / 1e6, 1),
            capabilities=list(self.capabilities),
            algorithms=list(self.algorithms),
            special_tokens=list(self.special_tokens),
            parameters={
                "max_length": ParameterBound(minimum=1, maximum=self.max_length),
                **{name: ParameterBound.of(name) for name in ("temperature", "top_p", "top_k", "repetition_penalty")},
            },
        )


def operation_of(params: Request | ReadingRequest) -> Operation:
    """The operation that a request asks for: a gap with nothing behind it is a text to continue."""
    if isinstance(params, ReadingRequest):
        return "read"
    return "infill" if isinstance(params, DiffusionInfillingParams) and params.suffix else "generate"
