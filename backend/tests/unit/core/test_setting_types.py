from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from app.core import setting_types
from app.core.setting_types import listed, parse_rate_limit
from app.core.settings import DiffusionConfig, Settings, WrongSetting, load_settings, update_config


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", []),
        ("  ", []),
        ("60/minute", [(60, 60)]),
        ("60 per minute", [(60, 60)]),
        ("1/5seconds", [(1, 5)]),
        ("1000/hour; 10/second", [(10, 1), (1000, 3600)]),
        ("10/second,1000/hour", [(10, 1), (1000, 3600)]),
    ],
)
def test_rate_limits_come_with_the_shortest_window_first(text: str, limits: list[tuple[int, int]]) -> None:
    assert [(limit.amount, limit.get_expiry()) for limit in parse_rate_limit(text)] == limits


@pytest.mark.parametrize(
    "text",
    ["60", "60/", "/minute", "60/parrot", "-1/minute", "0/minute", "1.5/minute", "60/minute;", "a",
     "1/9999years", "9" * 30 + "/second", "9" * 5_000 + "/second", "1/second;" * 8 + "1/second", "١/minute"],
)  # fmt: skip
def test_a_wrong_rate_limit_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="Input should be limits such as 60/minute"):
        update_config(DiffusionConfig(), {"rate_limit": text})


@pytest.mark.parametrize("url", ["memory", "redis://localhost", "redis://:pass@host:6380/2", "rediss://user:p@[::1]"])
def test_the_storages_for_counting_calls_are_accepted(url: str) -> None:
    assert Settings(rate_limit_storage=SecretStr(url)).rate_limit_storage.get_secret_value() == url


@pytest.mark.parametrize(
    "url", ["disk", "redis://", "http://host", "redis://host:port", "redis://host:0", "redis://[::"]
)
def test_other_storages_for_counting_calls_are_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Settings(rate_limit_storage=SecretStr(url))


@pytest.mark.parametrize("origins", ["", "*", "https://a.example", "https://a.example, http://localhost:3000"])
def test_origins(origins: str) -> None:
    assert Settings(cors_origins=origins).cors_origins == origins


@pytest.mark.parametrize(
    "origins",
    ["a.example", "https://", "https://a.example/", "https://a.example/page", "https://A.example", "*, https://a.example",
     "https://*.a.example/", "https://me@a.example", "https://a.example:x", "ftp://a.example", "null"],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_is_refused(origins: str) -> None:
    with pytest.raises(ValidationError, match="origins such as"):
        Settings(cors_origins=origins)


@pytest.mark.parametrize("keys", ["two words", "ключ", "a,b\tc"])
def test_keys_that_no_header_can_hold(keys: str) -> None:
    with pytest.raises(ValidationError):
        Settings(api_keys=SecretStr(keys))


def test_nf4_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert update_config(DiffusionConfig(), {"quantization": "nf4"}).quantization == "nf4"
    monkeypatch.setattr(setting_types, "find_spec", lambda name: None)
    with pytest.raises(
        ValidationError, match="Input should be auto, none or int8; nf4 needs bitsandbytes: pip install"
    ):
        update_config(DiffusionConfig(), {"quantization": "nf4"})


def test_the_parts_of_a_list() -> None:
    assert listed(" a, b,,c ,") == ("a", "b", "c")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("RATE_LIMIT", "60/parrot", "'60/parrot'"),
        ("CORS_ORIGINS", "example", "'example'"),
        ("RATE_LIMIT_STORAGE", "redis://:secret@", "***"),
        ("API_KEYS", "se cret", "***"),
    ],
)
def test_the_start_is_refused_with_one_line_that_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, shown: str
) -> None:
    monkeypatch.setenv(f"DIFFUSION_{name}", value)
    with pytest.raises(WrongSetting) as caught:
        load_settings()
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"DIFFUSION_{name}={shown} is not allowed; allowed: ")
