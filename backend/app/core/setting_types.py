"""Types of settings with a form of their own, and the message for a value that does not have it."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Annotated, Literal
from urllib.parse import urlsplit

from limits import RateLimitItem, parse_many
from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError

MAX_RATE_LIMITS = 8
MAX_RATE_LIMIT_CHARACTERS = 200
MAX_RATE_LIMIT_CALLS = 1_000_000_000
MAX_RATE_LIMIT_WINDOW_S = 366 * 24 * 3600

RATE_LIMIT_FORM = "limits such as 60/minute, several of them separated by ';' or ',', or empty for none"
HOST_FORM = "an address or the name of a host, such as 127.0.0.1"
STORAGE_FORM = "memory, or a Redis URL such as redis://user:password@host:6379/0 or rediss://host"
ORIGINS_FORM = "origins such as https://example.com, separated by commas, or * alone, or empty for none"
NF4_FORM = "auto, none or int8; nf4 needs bitsandbytes: pip install 'reynard-diffusion[nf4]'"
KEYS_FORM = "keys of visible ASCII characters, separated by commas, or empty for none"


def listed(text: str) -> tuple[str, ...]:
    """The values of a setting that holds several, separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


@lru_cache(maxsize=16)
def parse_rate_limit(text: str) -> tuple[RateLimitItem, ...]:
    """The limits of a `rate_limit`, the one with the shortest window first; none for an empty text.

    Raises:
        ValueError: the text has another form, or a limit is out of bounds.
    """
    if not text.strip():
        return ()
    if len(text) > MAX_RATE_LIMIT_CHARACTERS:
        raise ValueError(f"longer than {MAX_RATE_LIMIT_CHARACTERS} characters")
    items = sorted(parse_many(text), key=lambda item: item.get_expiry())
    if len(items) > MAX_RATE_LIMITS or not all(map(_is_usable, items)):
        raise ValueError("too many limits, or one out of bounds")
    return tuple(items)


def _is_usable(item: RateLimitItem) -> bool:
    return 1 <= item.amount <= MAX_RATE_LIMIT_CALLS and 1 <= item.get_expiry() <= MAX_RATE_LIMIT_WINDOW_S


def _expected(form: str) -> PydanticCustomError:
    return PydanticCustomError("setting_form", "Input should be {form}", {"form": form})


def _checked_rate_limit(text: str) -> str:
    try:
        parse_rate_limit(text)
    except ValueError:
        raise _expected(RATE_LIMIT_FORM) from None
    return text


def _checked_host(host: str) -> str:
    try:
        host.encode("idna")
    except UnicodeError:
        raise _expected(HOST_FORM) from None
    return host


def _checked_storage(url: SecretStr) -> SecretStr:
    if url.get_secret_value() != "memory" and not _is_redis_url(url.get_secret_value()):
        raise _expected(STORAGE_FORM)
    return url


def _is_redis_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("redis", "rediss") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _checked_origins(text: str) -> str:
    origins = listed(text)
    if origins != ("*",) and not all(map(_is_origin, origins)):
        raise _expected(ORIGINS_FORM)
    return text


def _is_origin(text: str) -> bool:
    """Whether the text is an origin as browsers send it: in lower case, and nothing after the port."""
    try:
        url = urlsplit(text)
        is_web = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    return is_web and "@" not in text and text == f"{url.scheme}://{url.netloc}".lower()


def _checked_keys(keys: SecretStr) -> SecretStr:
    if not all(key.isascii() and key.isprintable() and " " not in key for key in listed(keys.get_secret_value())):
        raise _expected(KEYS_FORM)
    return keys


def _checked_quantization(name: str) -> str:
    if name == "nf4" and find_spec("bitsandbytes") is None:
        raise _expected(NF4_FORM)
    return name


HostName = Annotated[str, AfterValidator(_checked_host)]
RateLimitText = Annotated[str, AfterValidator(_checked_rate_limit)]
StorageUrl = Annotated[SecretStr, AfterValidator(_checked_storage)]
OriginList = Annotated[str, AfterValidator(_checked_origins)]
KeyList = Annotated[SecretStr, AfterValidator(_checked_keys)]
QuantizationName = Annotated[Literal["auto", "none", "int8", "nf4"], AfterValidator(_checked_quantization)]
