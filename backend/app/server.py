"""The application: settings in, an ASGI app out; and the process that serves it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import entry_points
from socket import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.api.access.api_keys import ApiKeys
from app.api.access.auth import is_loopback_name
from app.api.access.connections import Connection, ConnectionLimit, connection_type
from app.api.access.cors import CrossOrigin
from app.api.access.counters import CallCounters
from app.api.access.rate_limit import RateLimit
from app.api.access.security_headers import SecurityHeaders
from app.api.access.wrong_credentials import LimitWrongCredentials, WrongCredentials
from app.api.bodies.body_deadline import BodyDeadline
from app.api.bodies.body_limit import BodyLimit
from app.api.errors.table import add_error_handlers
from app.api.errors.unexpected_errors import UnexpectedErrors
from app.api.face import Addressed, Face, Faces
from app.api.observation.observation import add_observation, observing
from app.api.observation.refused_calls import RefusedCalls
from app.api.observation.request_log import RequestLog
from app.api.openapi.document import describe
from app.api.registry import FACES
from app.api.wire.head_requests import HeadRequests
from app.api.wire.request_id import RequestId
from app.core.garbage import resume_collections
from app.core.open_files import allow_open_files
from app.core.setting_types import listed
from app.core.settings import ENV_PREFIX, DiffusionConfig, Settings, WrongSetting
from app.core.version import VERSION
from app.services.diffusion import DiffusionLLMService, InvalidParameters
from app.services.diffusion.residency.catalog import ENTRY_POINT_GROUP

DESCRIPTION = "Serves diffusion language models: generation and infilling, streamed while they denoise."

FINISHING_S = 5
"""The seconds that running requests have to finish when the server is asked to stop."""
ENDING_S = 5
"""The seconds for sending the answers to requests that did not finish."""

NUM_OTHER_FILES = 256
"""Open files besides clients' connections: models, logs, connections to Redis and to a collector, threads' pipes."""

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings, service: DiffusionLLMService | None = None, faces: Iterable[Face] = FACES
) -> FastAPI:
    """The app around `service`, or around a new one made from the settings; it opens and closes either.

    Args:
        faces: the APIs that it serves.

    Raises:
        WrongSetting: a setting names a model that there is not, or does not fit in another way.
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
    app.state.call_counters = _new_call_counters(settings)
    app.state.wrong_credentials = WrongCredentials(app.state.call_counters, _rate_limit_of(app.state.service))
    spoken = Faces(faces)
    _add_faces(app, spoken, settings)
    add_error_handlers(app)
    _add_middleware(app, settings)
    add_observation(app, app.state.service, otel_endpoint=settings.otel_endpoint)
    app.add_middleware(Addressed, faces=spoken)
    return app


def _add_faces(app: FastAPI, faces: Faces, settings: Settings) -> None:
    for face in faces.all:
        if face.is_served(settings):
            app.include_router(face.router)
    app.openapi = lambda: describe(app, faces)  # type: ignore[method-assign]


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


def _new_call_counters(settings: Settings) -> CallCounters:
    try:
        return CallCounters(settings.rate_limit_storage.get_secret_value())
    except ValueError as error:
        raise WrongSetting(f"{ENV_PREFIX}RATE_LIMIT_STORAGE=*** is not allowed; {error}") from None


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Adds the middleware from the inside out: what is added last sees a request first."""
    app.add_middleware(HeadRequests)
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(BodyDeadline, timeout_s=settings.client_timeout_seconds)
    app.add_middleware(RateLimit, counters=app.state.call_counters, current_limit=_rate_limit_of(app.state.service))
    if keys := listed(settings.api_keys.get_secret_value()):
        app.add_middleware(ApiKeys, keys=keys, admin_token=settings.admin_token.get_secret_value())
    app.add_middleware(LimitWrongCredentials, wrong_credentials=app.state.wrong_credentials)
    app.add_middleware(ConnectionLimit)
    app.add_middleware(UnexpectedErrors)
    if origins := listed(settings.cors_origins):
        app.add_middleware(CrossOrigin, origins=origins)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RefusedCalls, service=app.state.service)
    app.add_middleware(RequestLog)
    app.add_middleware(RequestId)


def _rate_limit_of(service: DiffusionLLMService) -> Callable[[], str]:
    return lambda: str(service.configuration()["rate_limit"])


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Initialises the service beside the server: listening does not wait for models, and a request that comes before
    its model waits for it."""
    service: DiffusionLLMService = app.state.service
    initializing = asyncio.create_task(_initialize(service))
    try:
        async with observing(app):
            yield
    finally:
        initializing.cancel()
        await asyncio.wait({initializing})
        await service.close()
        await app.state.call_counters.close()


async def _initialize(service: DiffusionLLMService) -> None:
    try:
        await service.initialize()
    except InvalidParameters as error:
        logger.critical("the service cannot answer: %s", error)
    except Exception:
        logger.exception("the service could not be initialised")
    finally:
        resume_collections()


class Server(uvicorn.Server):
    """Lets running requests finish when it is asked to stop, and ends those that take too long, so that every client
    gets an answer: an error where it cannot be the text."""

    def __init__(self, config: uvicorn.Config, service: DiffusionLLMService) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.announce_end()
        super().handle_exit(sig, frame)

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
    """Serves the app until the process is asked to stop; gives whether it could be served at all."""
    settings: Settings = app.state.settings
    if not is_loopback_name(settings.host) and not listed(settings.api_keys.get_secret_value()):
        logger.warning("whoever reaches %s:%d may use this server: api_keys is empty", settings.host, settings.port)
    server = new_server(app)
    # Uvicorn raises the one once more, after it has stopped, and the other where it cannot begin, which its log says.
    with suppress(KeyboardInterrupt, SystemExit):
        server.run()
    return server.started


def new_server(app: FastAPI) -> Server:
    """A server of the app that does not run yet."""
    settings: Settings = app.state.settings
    config = uvicorn.Config(
        app,
        loop="asyncio",  # uvloop comes with the extra ray, and must not change how this server behaves
        http=_connection_type(settings),
        ws="none",
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # the app writes its own line per request
        proxy_headers=False,  # the peer address decides who may make admin calls
        server_header=False,
        timeout_graceful_shutdown=FINISHING_S + ENDING_S,
    )
    return Server(config, app.state.service)


def _connection_type(settings: Settings) -> type[Connection]:
    num_files = allow_open_files(settings.max_connections + NUM_OTHER_FILES)
    max_connections = max(min(settings.max_connections, num_files - NUM_OTHER_FILES), 1)
    if max_connections < settings.max_connections:
        logger.warning(
            "this system allows %d open files, so only %d connections are served at a time and not max_connections=%d",
            num_files,
            max_connections,
            settings.max_connections,
        )
    return connection_type(client_timeout_s=settings.client_timeout_seconds, max_connections=max_connections)
