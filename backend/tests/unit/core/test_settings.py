from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from app.core.settings import (
    ENV_PREFIX,
    RELOAD_SETTINGS,
    DiffusionConfig,
    Settings,
    WrongSetting,
    load_settings,
    unknown_settings,
    update_config,
)

BACKEND = Path(__file__).parents[3]
EXAMPLE = BACKEND / "diffusion_config_example.env"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def example_lines() -> dict[str, str]:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_example_file_names_every_setting() -> None:
    assert set(example_lines()) == {ENV_PREFIX + name.upper() for name in Settings.model_fields}


def test_example_file_holds_the_defaults(tmp_path: Path) -> None:
    defaults = Settings()
    (tmp_path / ".env").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    assert Settings() == defaults
    as_written = Settings.model_validate(
        {name.removeprefix(ENV_PREFIX).lower(): value for name, value in example_lines().items()}
    )
    assert as_written == defaults


def test_example_file_comments_every_setting_and_marks_what_changes_at_run_time() -> None:
    comment = ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            comment += line
        elif line:
            name = line.split("=")[0].removeprefix(ENV_PREFIX).lower()
            assert comment, f"{name} has no comment"
            assert ("(run time" in comment) == (name in DiffusionConfig.model_fields), name
            assert ("is reloaded)" in comment) == (name in RELOAD_SETTINGS), name
            comment = ""
        else:
            comment = ""


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PORT", "99999", "less than or equal to 65535"),
        ("PORT", "http", "a valid integer"),
        ("DEVICE_PREFERENCE", "gpu", "auto, cpu, cuda, cuda:N or mps"),
        ("DTYPE", "int8", "'auto', 'float32', 'bfloat16' or 'float16'"),
        ("TEMPERATURE", "2.5", "less than or equal to 2"),
        ("TIMEOUT_SECONDS", "nan", "a finite number"),
        ("MODEL_FALLBACK", "perhaps", "a valid boolean"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_wrong_value_is_one_line_with_setting_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(ENV_PREFIX + name, value)
    with pytest.raises(WrongSetting) as caught:
        load_settings()
    assert str(caught.value).splitlines() == [f"DIFFUSION_{name}={value!r} is not allowed; allowed: {allowed}"]


def test_each_wrong_value_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFUSION_TOP_K", "0")
    monkeypatch.setenv("DIFFUSION_TOP_P", "0")
    with pytest.raises(WrongSetting) as caught:
        load_settings()
    assert len(str(caught.value).splitlines()) == 2


def test_unreadable_env_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"DIFFUSION_HOST=\xff\xfe")
    with pytest.raises(WrongSetting, match=r"^\.env cannot be read"):
        load_settings()


def test_environment_wins_over_env_file_and_empty_means_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("DIFFUSION_TOP_K=7\nDIFFUSION_PORT=9000\nDIFFUSION_TOP_P=\nOTHER=1\n")
    monkeypatch.setenv("DIFFUSION_PORT", "9001")
    settings = load_settings()
    assert (settings.top_k, settings.port, settings.top_p) == (7, 9001, 0.9)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_the_first_line_of_an_env_file_counts_whatever_wrote_it(tmp_path: Path, mark: bytes, end: bytes) -> None:
    lines = [b"DIFFUSION_API_KEYS=secret", b"DIFFUSION_MISSPELT=1", b"DIFFUSION_TOP_K=7"]
    (tmp_path / ".env").write_bytes(mark + end.join(lines) + end)
    settings = load_settings()
    assert (settings.api_keys.get_secret_value(), settings.top_k) == ("secret", 7)
    assert unknown_settings() == ["DIFFUSION_MISSPELT"]
    (tmp_path / ".env").write_bytes(mark + lines[1])
    assert unknown_settings() == ["DIFFUSION_MISSPELT"]


def test_unknown_names_that_look_like_settings_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DIFFUSION_TEMPRATURE=1\nDIFFUSION_TOP_K=3\nOTHER=1\n")
    monkeypatch.setenv("DIFFUSION_NO_SUCH", "1")
    monkeypatch.setenv("DIFFUSION_URL", "http://localhost:8000")
    monkeypatch.setenv("DIFFUSION_API_KEY", "key")
    assert unknown_settings() == ["DIFFUSION_NO_SUCH", "DIFFUSION_TEMPRATURE"]


def test_admin_token_does_not_show() -> None:
    settings = Settings(admin_token=SecretStr("hidden-token"))
    assert "hidden-token" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert "admin_token" not in settings.service_config().model_dump()


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 3}, {"temperature": False}, {"top_k": "5"}, {"no_such": 1}, {"port": 1}, {"admin_token": "x"}],
)
def test_bad_update_changes_nothing(changes: dict[str, Any]) -> None:
    config = DiffusionConfig()
    with pytest.raises(ValidationError):
        update_config(config, changes)
    assert config == DiffusionConfig()


def test_update_makes_a_new_configuration() -> None:
    config = DiffusionConfig()
    assert update_config(config, {"top_k": 3}).top_k == 3
    assert config.top_k == 50
