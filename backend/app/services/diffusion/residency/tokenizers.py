"""The tokenizers of the models: what a client wants to know before it asks for a text, or after it got one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.errors import GenerationTimeout
from app.services.diffusion.residency.routing import Router
from app.services.diffusion.state import ServiceState
from app.services.diffusion.tokens import Encoding, TokenizerFacts, Tokens


class Tokenizers:
    """Asks a model for its tokens. It loads a model that waits for its first use, and no other stands in for one.

    Every method takes the id of a model, or `None` for the default one, and raises:
        ServiceDisabled: the service answers nobody.
        UnknownModel: no model has this id.
        UnsupportedOperation: the model shows no tokens.
        ModelUnavailable: it cannot be had.
        GenerationTimeout: it is not loaded in time.
    """

    def __init__(self, router: Router, state: ServiceState) -> None:
        self._router = router
        self._state = state

    async def encode(self, text: Encoding, model_id: str | None = None) -> Tokens:
        """The tokens of a text. Raises InvalidParameters where the chat template refuses a conversation."""
        async with self._held(model_id) as model:
            return await model.encode(text)

    async def decode(self, token_ids: Sequence[int], model_id: str | None = None) -> str:
        """The text of token ids, special ones by their names. Raises InvalidParameters for ids that are none."""
        async with self._held(model_id) as model:
            return await model.decode(token_ids)

    async def describe(self, model_id: str | None = None) -> TokenizerFacts:
        """The facts about a tokenizer."""
        async with self._held(model_id) as model:
            return await model.describe_tokenizer()

    @asynccontextmanager
    async def _held(self, model_id: str | None) -> AsyncIterator[DiffusionModel]:
        config = self._state.in_force()
        wanted, timeout_s = model_id or config.default_model, config.timeout_seconds
        try:
            async with asyncio.timeout(timeout_s), self._router.held(wanted) as model:
                yield model
        except TimeoutError:
            message = f"model {wanted!r} did not answer within timeout_seconds={timeout_s:g}; try again later"
            raise GenerationTimeout(message) from None
