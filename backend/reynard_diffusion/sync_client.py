"""The client that blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from reynard_diffusion import calls
from reynard_diffusion.calls import Call, Message, StreamCall, given
from reynard_diffusion.errors import DiffusionError
from reynard_diffusion.options import DEFAULT_URL, ClientOptions
from reynard_diffusion.parameters import Parameters
from reynard_diffusion.problems import problem_of
from reynard_diffusion.reading import ChatReader, EventReader, Reader
from reynard_diffusion.reports import (
    CleanupReport,
    ConfigurationChange,
    DiffusionHealth,
    DiffusionModelDetails,
    DiffusionStatistics,
)
from reynard_diffusion.results import DiffusionModelInfo, GenerationResult
from reynard_diffusion.retries import Retries
from reynard_diffusion.streams import EventStream
from reynard_diffusion.transport import answer_to, check_stream, failures_translated, request_of

T = TypeVar("T")


class DiffusionClient:
    """A client that blocks; several threads may use it. Every call raises a DiffusionError if it does not succeed.

    Args:
        api_key: the key, if the server wants one.
        admin_token: the token for configure, stats, health, model_details, reload and cleanup.
        timeout_s: the longest silence of the server; the default is a little more than the server's own deadline.
        max_retries: the number of retries of a call that was refused with 429 or 503 and a `Retry-After`; 0 never
            retries. A stream is requested again until it has begun, and never afterwards.
        max_retry_wait_s: the largest sum of all waits of one call.

    Example:
        with DiffusionClient() as client:
            print(client.generate("Once upon a time", max_length=64))
            for event in client.infill_stream("def add(a, b):", "return total"):
                if event.type == "token":
                    print(event.data, end="")
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str = "",
        admin_token: str = "",
        timeout_s: float = 330.0,
        connect_timeout_s: float = 10.0,
        max_retries: int = 2,
        max_retry_wait_s: float = 30.0,
    ) -> None:
        self._options = ClientOptions(
            url, api_key, admin_token, timeout_s, connect_timeout_s, max_retries, max_retry_wait_s
        )
        self._http = httpx.Client(**self._options.for_httpx())

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- requests ----------------------------------------------------------------------------------------------------

    def generate(self, text: str, **parameters: Unpack[Parameters]) -> GenerationResult:
        """Continues a text."""
        return self._send(calls.generate(text, parameters))

    def generate_stream(self, text: str, **parameters: Unpack[Parameters]) -> EventStream:
        """Continues a text, event by event."""
        return EventStream(self._read(calls.generate_stream(text, parameters), EventReader()))

    def infill(self, prefix: str, suffix: str = "", **parameters: Unpack[Parameters]) -> GenerationResult:
        """Fills the gap between two texts; one of them may be empty."""
        return self._send(calls.infill(prefix, suffix, parameters))

    def infill_stream(self, prefix: str, suffix: str = "", **parameters: Unpack[Parameters]) -> EventStream:
        """Fills the gap between two texts, event by event."""
        return EventStream(self._read(calls.infill_stream(prefix, suffix, parameters), EventReader()))

    def read(self, parts: Sequence[Any], *, model_id: str | None = None, top: int | None = None) -> dict[str, Any]:
        """Reads a text with holes: the answer of `POST /api/diffusion/read`, whose `parts` these are."""
        return self._send(calls.read(parts, given(model_id=model_id, top=top)))

    def likelihood(
        self,
        texts: Sequence[str],
        *,
        prefix: str = "",
        model_id: str | None = None,
        num_samples: int | None = None,
        seed: int | None = None,
    ) -> dict[str, Any]:
        """Says how probable texts are behind a prefix: the answer of `POST /api/diffusion/likelihood`."""
        parameters = given(prefix=prefix, model_id=model_id, num_samples=num_samples, seed=seed)
        return self._send(calls.likelihood(texts, parameters))

    def decide(
        self, state: Any, questions: Mapping[str, Any], *, model: str | None = None, permutations: int | None = None
    ) -> dict[str, Any]:
        """Answers questions about a state, text or JSON: the answer of `POST /v1/systemone`, whose `questions` these
        are, by name."""
        return self._send(calls.decide(state, questions, given(model=model, permutations=permutations)))

    def chat_stream(self, messages: Sequence[Message], **parameters: Any) -> Generator[str, None, None]:
        """Gives the next turn of a conversation, piece by piece; parameters are those of `/v1/chat/completions`."""
        return self._read(calls.chat_stream(messages, parameters), ChatReader())

    # -- the server --------------------------------------------------------------------------------------------------

    def models(self) -> list[DiffusionModelInfo]:
        return self._send(calls.models())

    def config(self) -> dict[str, Any]:
        """The server's current configuration."""
        return self._send(calls.config())

    def configure(self, **changes: Any) -> ConfigurationChange:
        """Changes the named settings: all of them, or none."""
        return self._send(calls.configure(changes))

    def stats(self) -> DiffusionStatistics:
        return self._send(calls.stats())

    def health(self) -> DiffusionHealth:
        """The server's health, per model and device; a server that cannot answer requests gives it too."""
        return self._send(calls.health())

    def model_details(self) -> list[DiffusionModelDetails]:
        return self._send(calls.model_details())

    def reload(self, model_id: str) -> DiffusionModelDetails:
        """Loads a model again; requests in flight finish on the old one."""
        return self._send(calls.reload(model_id))

    def cleanup(self) -> CleanupReport:
        """Releases caches and idle models."""
        return self._send(calls.cleanup())

    def ping(self) -> None:
        """Returns if a server is alive at the URL, and raises otherwise; needs no key."""
        self._send(calls.ping())

    # -- inside ------------------------------------------------------------------------------------------------------

    def _send(self, call: Call[T]) -> T:
        def send() -> T:
            with failures_translated(self._options):
                response = self._http.send(self._http.build_request(**request_of(call, self._options)))
            return answer_to(call, response)

        return self._retried(send)

    def _read(self, call: StreamCall, reader: Reader[T]) -> Generator[T, None, None]:
        response = self._retried(lambda: self._opened(call))
        try:
            with failures_translated(self._options):
                for line in response.iter_lines():
                    if (item := reader.feed(line)) is not None:
                        yield item
            reader.finish()
        finally:
            response.close()

    def _opened(self, call: StreamCall) -> httpx.Response:
        with failures_translated(self._options):
            response = self._http.send(self._http.build_request(**request_of(call, self._options)), stream=True)
            try:
                if response.status_code != 200:
                    raise problem_of(response.status_code, response.headers, response.read())
                check_stream(response)
            except BaseException:
                response.close()
                raise
            return response

    def _retried(self, attempt: Callable[[], T]) -> T:
        retries = Retries(self._options.max_retries, self._options.max_retry_wait_s)
        while True:
            try:
                return attempt()
            except DiffusionError as error:
                wait_s = retries.wait_s(error)
            time.sleep(wait_s)
