"""The server that answers a command: one that is named, one that runs at the default URL, or this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from app.cli.failure import Failure, NotReachable
from app.cli.notes import note, waiting
from app.cli.types import TEXT

if TYPE_CHECKING:
    from reynard_diffusion import DiffusionClient

PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """The options that choose who answers."""

    url: str | None
    is_local: bool
    api_key: str


url_option = click.option(
    "--url", type=TEXT, envvar="DIFFUSION_URL", help="The server; default DIFFUSION_URL, or http://localhost:8000."
)
api_key_option = click.option(
    "--api-key", type=TEXT, envvar="DIFFUSION_API_KEY", default="", help="Key of the server; default DIFFUSION_API_KEY."
)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of the target to a command, which gets a `target`."""

    @url_option
    @click.option("--local", "is_local", is_flag=True, help="Ask no server; answer from this process.")
    @api_key_option
    @wraps(command)
    def with_target(*args: Any, url: str | None, is_local: bool, api_key: str, **options: Any) -> Any:
        return command(*args, target=Target(url or None, is_local, api_key), **options)

    return with_target


@contextmanager
def connected(target: Target) -> Iterator[DiffusionClient]:
    """A client of the server that answers; its errors become a message and an exit code.

    Raises:
        Failure: the request failed; NotReachable if there is no server.
        click.UsageError: the URL is invalid.
    """
    from reynard_diffusion import DEFAULT_URL, DiffusionError, ServerUnreachable

    try:
        is_local = target.is_local or (target.url is None and not _is_served(DEFAULT_URL))
        with _local_client() if is_local else _client(target.url or DEFAULT_URL, target.api_key) as client:
            yield client
    except ServerUnreachable as error:
        raise NotReachable(str(error)) from error
    except DiffusionError as error:
        raise Failure(str(error)) from error


def _client(url: str, api_key: str, **options: Any) -> DiffusionClient:
    from reynard_diffusion import DiffusionClient

    try:
        return DiffusionClient(url, api_key=api_key, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _is_served(url: str) -> bool:
    from reynard_diffusion import ServerUnreachable

    try:
        with _client(url, "", timeout_s=PROBE_TIMEOUT_S, connect_timeout_s=PROBE_TIMEOUT_S) as client:
            client.ping()
    except ServerUnreachable:
        note(f"no server runs at {url}; answering from this process (local mode)")
        return False
    return True


@contextmanager
def _local_client() -> Iterator[DiffusionClient]:
    with ExitStack() as stack:
        with waiting("starting the engine"):
            from app.cli.local import local_server
            from app.core.settings import WrongSetting

            try:
                url, key = stack.enter_context(local_server())
            except WrongSetting as error:
                raise click.UsageError(str(error)) from None
        # Nobody else is served here, so a refusal would only be repeated.
        yield stack.enter_context(_client(url, key, max_retries=0))
