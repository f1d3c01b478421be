"""The application: settings in, an ASGI app out; and the process that serves it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import entry_points
from socket import socket

import uvicorn
from fastapi import FastAPI

from app.api.body_limit import BodyLimit
from app.api.diffusion.router import router
from app.api.errors import add_error_handlers
from app.api.openapi import describe
from app.api.request_id import RequestId
from app.api.request_log import RequestLog
from app.api.unexpected_errors import UnexpectedErrors
from app.core.settings import ENV_PREFIX, DiffusionConfig, Settings, WrongSetting
from app.services.diffusion import DiffusionLLMService, InvalidParameters
from app.services.diffusion.catalog import ENTRY_POINT_GROUP

VERSION = "0.1.0"
DESCRIPTION = "Serves diffusion language models: generation and infilling, streamed while they denoise."

FINISHING_S = 5
"""How long running requests may go on when the server is told to stop."""
ENDING_S = 5
"""How long the answers to those that did not finish may take to be sent."""

logger = logging.getLogger(__name__)


def create_app(settings: Settings, service: DiffusionLLMService | None = None) -> FastAPI:
    """The app around `service`, or around a new one made from the settings; it opens and closes either.

    Raises:
        WrongSetting: a setting names a model that there is not.
    """
    app = FastAPI(
        title="Reynard Diffusion",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan,
        # The pages of FastAPI fetch scripts from a CDN; this server also runs where there is none.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.service = service or _new_service(settings.service_config())
    app.include_router(router)
    add_error_handlers(app)
    _add_middleware(app, settings)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _new_service(config: DiffusionConfig) -> DiffusionLLMService:
    try:
        service = DiffusionLLMService(config)
    except InvalidParameters as error:
        raise WrongSetting(f"{ENV_PREFIX}{error.field.upper()}: {error}") from None
    known = [model.model_id for model in service.list_models()]
    # Plug-ins are imported later, beside the server; where there are some, one may be the default.
    if config.default_model not in known and not entry_points(group=ENTRY_POINT_GROUP):
        raise WrongSetting(
            f"{ENV_PREFIX}DEFAULT_MODEL={config.default_model!r} is not allowed; allowed: {', '.join(known)}"
        )
    return service


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """From the inside out: what is added last sees a request first."""
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(UnexpectedErrors)
    app.add_middleware(RequestLog)
    app.add_middleware(RequestId)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Listening does not wait for models: a request that comes before its model waits for it."""
    service: DiffusionLLMService = app.state.service
    initializing = asyncio.create_task(_initialize(service))
    try:
        yield
    finally:
        initializing.cancel()
        await asyncio.wait({initializing})
        await service.close()


async def _initialize(service: DiffusionLLMService) -> None:
    try:
        await service.initialize()
    except InvalidParameters as error:
        logger.critical("the service cannot answer: %s", error)
    except Exception:
        logger.exception("the service could not be initialised")


class Server(uvicorn.Server):
    """Lets running requests finish when it is told to stop, and ends those that take too long, so that every client
    gets an answer: an error where it cannot be the text."""

    def __init__(self, config: uvicorn.Config, service: DiffusionLLMService) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        ending = asyncio.create_task(self._end_requests())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end_requests(self) -> None:
        await asyncio.sleep(FINISHING_S)
        await self._service.close()


def serve(app: FastAPI) -> bool:
    """Serves the app until the process is told to stop; whether it could be served at all."""
    settings: Settings = app.state.settings
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # the app writes its own line per request
        proxy_headers=False,  # the peer address decides who may make admin calls
        server_header=False,
        timeout_graceful_shutdown=FINISHING_S + ENDING_S,
    )
    server = Server(config, app.state.service)
    with suppress(KeyboardInterrupt):  # raised once more by uvicorn, after it has stopped
        server.run()
    return server.started
