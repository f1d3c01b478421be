"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
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
from reynard_diffusion.streams import AsyncEventStream
from reynard_diffusion.transport import answer_to, check_stream, failures_translated, request_of

T = TypeVar("T")


class AsyncDiffusionClient:
    """A DiffusionClient for asyncio, with the same arguments and calls; it belongs to one event loop.

    Example:
        async with AsyncDiffusionClient() as client:
            print(await client.generate("Once upon a time", max_length=64))
            async with client.infill_stream("def add(a, b):", "return total") as stream:
                async for event in stream:
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
        self._http = httpx.AsyncClient(**self._options.for_httpx())

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- requests ----------------------------------------------------------------------------------------------------

    async def generate(self, text: str, **parameters: Unpack[Parameters]) -> GenerationResult:
        """Continues a text."""
        return await self._send(calls.generate(text, parameters))

    def generate_stream(self, text: str, **parameters: Unpack[Parameters]) -> AsyncEventStream:
        """Continues a text, event by event."""
        return AsyncEventStream(self._read(calls.generate_stream(text, parameters), EventReader()))

    async def infill(self, prefix: str, suffix: str = "", **parameters: Unpack[Parameters]) -> GenerationResult:
        """Fills the gap between two texts; one of them may be empty."""
        return await self._send(calls.infill(prefix, suffix, parameters))

    def infill_stream(self, prefix: str, suffix: str = "", **parameters: Unpack[Parameters]) -> AsyncEventStream:
        """Fills the gap between two texts, event by event."""
        return AsyncEventStream(self._read(calls.infill_stream(prefix, suffix, parameters), EventReader()))

    async def read(
        self, parts: Sequence[Any], *, model_id: str | None = None, top: int | None = None
    ) -> dict[str, Any]:
        """Reads a text with holes: the answer of `POST /api/diffusion/read`, whose `parts` these are."""
        return await self._send(calls.read(parts, given(model_id=model_id, top=top)))

    async def likelihood(
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
        return await self._send(calls.likelihood(texts, parameters))

    async def decide(
        self, state: Any, questions: Mapping[str, Any], *, model: str | None = None, permutations: int | None = None
    ) -> dict[str, Any]:
        """Answers questions about a state, text or JSON: the answer of `POST /v1/systemone`, whose `questions` these
        are, by name."""
        return await self._send(calls.decide(state, questions, given(model=model, permutations=permutations)))

    def chat_stream(self, messages: Sequence[Message], **parameters: Any) -> AsyncGenerator[str, None]:
        """Gives the next turn of a conversation, piece by piece; parameters are those of `/v1/chat/completions`."""
        return self._read(calls.chat_stream(messages, parameters), ChatReader())

    # -- the server --------------------------------------------------------------------------------------------------

    async def models(self) -> list[DiffusionModelInfo]:
        return await self._send(calls.models())

    async def config(self) -> dict[str, Any]:
        """The server's current configuration."""
        return await self._send(calls.config())

    async def configure(self, **changes: Any) -> ConfigurationChange:
        """Changes the named settings: all of them, or none."""
        return await self._send(calls.configure(changes))

    async def stats(self) -> DiffusionStatistics:
        return await self._send(calls.stats())

    async def health(self) -> DiffusionHealth:
        """The server's health, per model and device; a server that cannot answer requests gives it too."""
        return await self._send(calls.health())

    async def model_details(self) -> list[DiffusionModelDetails]:
        return await self._send(calls.model_details())

    async def reload(self, model_id: str) -> DiffusionModelDetails:
        """Loads a model again; requests in flight finish on the old one."""
        return await self._send(calls.reload(model_id))

    async def cleanup(self) -> CleanupReport:
        """Releases caches and idle models."""
        return await self._send(calls.cleanup())

    async def ping(self) -> None:
        """Returns if a server is alive at the URL, and raises otherwise; needs no key."""
        await self._send(calls.ping())

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _send(self, call: Call[T]) -> T:
        async def send() -> T:
            with failures_translated(self._options):
                response = await self._http.send(self._http.build_request(**request_of(call, self._options)))
            return answer_to(call, response)

        return await self._retried(send)

    async def _read(self, call: StreamCall, reader: Reader[T]) -> AsyncGenerator[T, None]:
        response = await self._retried(lambda: self._opened(call))
        try:
            with failures_translated(self._options):
                async for line in response.aiter_lines():
                    if (item := reader.feed(line)) is not None:
                        yield item
            reader.finish()
        finally:
            await response.aclose()

    async def _opened(self, call: StreamCall) -> httpx.Response:
        with failures_translated(self._options):
            response = await self._http.send(self._http.build_request(**request_of(call, self._options)), stream=True)
            try:
                if response.status_code != 200:
                    raise problem_of(response.status_code, response.headers, await response.aread())
                check_stream(response)
            except BaseException:
                await response.aclose()
                raise
            return response

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        retries = Retries(self._options.max_retries, self._options.max_retry_wait_s)
        while True:
            try:
                return await attempt()
            except DiffusionError as error:
                wait_s = retries.wait_s(error)
            await asyncio.sleep(wait_s)
