"""The doctor in broken setups."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from app.cli.doctor.setup import check_setup
from app.core.settings import ENV_PREFIX
from app.engine.device.memory import DeviceMemory
from app.engine.families.checkpoint import load_model
from app.engine.room import check
from tests.api.serving import CHECKPOINTS
from tests.ports import free_port
from tests.unit.client.scripted import Answer, scripted
from tests.unit.engine.adapters import write_whole_adapter


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def port(tmp_path: Path) -> int:
    """The port of a setup that is otherwise sound."""
    port = free_port()
    write_settings(tmp_path, PORT=str(port))
    return port


def write_settings(folder: Path, **settings: str) -> None:
    with (folder / ".env").open("a") as file:
        file.writelines(f"{ENV_PREFIX}{name}={value}\n" for name, value in settings.items())


def found(level: str, url: str | None = None, api_key: str = "") -> list[str]:
    return [finding.text for finding in check_setup(url, api_key) if finding.level == level]


def test_a_sound_setup(port: int) -> None:
    findings = list(check_setup(None, ""))
    assert {finding.level for finding in findings} == {"ok"}
    texts = [finding.text for finding in findings]
    assert [text.partition(":")[0] for text in texts[1:3]] == ["dreamon", "llada"]
    assert f"Nothing listens on 127.0.0.1:{port}" in texts[-1]


def test_wrong_and_unknown_settings(tmp_path: Path) -> None:
    write_settings(tmp_path, TOP_K="lots", PORT="0")
    problems = found("problem")
    assert len(problems) == 2
    assert problems[0].startswith("DIFFUSION_TOP_K='lots' is not allowed; allowed: a valid integer (environment, or ")
    (tmp_path / ".env").write_text("DIFFUSION_TEMPRATURE=1\n")
    assert found("warning")[0].startswith("DIFFUSION_TEMPRATURE is not a setting of this version")


def test_a_missing_rules_file_is_found(tmp_path: Path, port: int) -> None:
    write_settings(tmp_path, CONTENT_FILTER="rules.toml")
    (only,) = found("problem")
    assert "rules.toml: there is no such file" in only


def test_checkpoints_that_are_absent_broken_or_not_downloaded(tmp_path: Path, port: int) -> None:
    broken = shutil.copytree(CHECKPOINTS / "llada-tiny", tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    other = shutil.copytree(CHECKPOINTS / "llada-tiny", tmp_path / "other")
    (other / "tokenizer.json").write_text("{")
    write_settings(
        tmp_path, DREAMON_PATH="/absent", LLADA_PATH=str(broken), EXTRA_MODELS=f"far=organisation/name,half={other}"
    )
    absent, unsafe, half = found("problem")
    assert absent == "dreamon: checkpoint folder '/absent' does not exist; give an existing folder or a hub id"
    assert unsafe.startswith(f"llada: the checkpoint in {broken} is broken: model.safetensors is no intact")
    assert "tokenizer.json" in half
    assert found("warning") == [
        "far: organisation/name is downloaded when it is first used; reynard-diffusion pull gets it"
    ]


def test_a_default_of_a_checkpoints_own_that_is_none_is_found(tmp_path: Path, port: int) -> None:
    broken = shutil.copytree(CHECKPOINTS / "llada-tiny", tmp_path / "broken")
    (broken / "generation_config.json").write_text('{"block_length": 0}')
    write_settings(tmp_path, LLADA_PATH=str(broken))
    (problem,) = found("problem")
    assert problem.startswith(
        f"llada: the checkpoint in {broken} is broken: generation_config.json: block_length=0 is not"
    )


def test_adapters_are_looked_at_with_their_bases(tmp_path: Path, port: int) -> None:
    base = load_model(CHECKPOINTS / "llada-tiny", torch.device("cpu"), torch.float32)
    good = write_whole_adapter(tmp_path / "good", base)
    cut = write_whole_adapter(tmp_path / "cut", base)
    (cut / "adapter_model.safetensors").write_bytes(b"")
    write_settings(
        tmp_path,
        LLADA_PATH=str(CHECKPOINTS / "llada-tiny"),
        ADAPTERS=f"a=llada:{good},b=llada:{cut},c=dreamon:{good},d=llada:/absent,e=llada:organisation/name",
    )
    assert f"a, an adapter of llada: the adapter in {good} is readable, and changes 21 projections." in found("ok")
    cut_off, other, absent = found("problem")
    assert cut_off.startswith(
        f"b, an adapter of llada: the adapter in {cut} cannot be used: adapter_model.safetensors is"
    )
    assert "is it an adapter of another base?" in other
    assert absent == (
        "d, an adapter of llada: adapter folder '/absent' does not exist; give an existing folder or a hub id"
    )
    assert any(
        "e, an adapter of llada: organisation/name is downloaded when it is" in text for text in found("warning")
    )


def test_a_checkpoint_without_room_is_found(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "device_memory", lambda device: DeviceMemory(31 * 10**9, 32 * 10**9))
    monkeypatch.setattr(check, "free_caches", lambda device: None)
    assert found("warning") == []
    monkeypatch.setattr(check, "device_memory", lambda device: DeviceMemory(32 * 10**9 - 10**6, 32 * 10**9))
    for warning in found("warning"):
        assert "there is no room for it now: " in warning
        assert "1 MB of 32.0 GB are free on cpu" in warning


def test_a_missing_device_is_found(tmp_path: Path, port: int) -> None:
    write_settings(tmp_path, DEVICE_PREFERENCE="cuda:99")
    assert all("device cuda:99 is not there" in text for text in found("problem"))


def test_a_port_that_another_program_uses_is_found() -> None:
    with scripted(Answer(404, "{}")) as server:
        write_settings(Path(), PORT=server.url.rpartition(":")[2])
        (only,) = found("problem")
    assert "Address already in use; set DIFFUSION_HOST and DIFFUSION_PORT" in only


def test_a_port_that_the_server_has() -> None:
    with scripted(Answer(body='{"status": "alive"}')) as server:
        write_settings(Path(), PORT=server.url.rpartition(":")[2])
        assert found("problem") == []
        assert found("ok")[-1].startswith("A server is running at http://localhost:")


def test_a_server_that_is_named() -> None:
    models = '{"status": "alive", "models": []}'
    denied = Answer(401, '{"detail": "send it", "code": "api_key_required"}')
    with scripted(Answer(body=models)) as server:
        assert found("warning", server.url, "key")[-1].endswith("no model is loaded")
        assert server.header("Authorization") == "Bearer key"
    with scripted(Answer(body=models), denied) as server:
        assert "DIFFUSION_API_KEY" in found("problem", server.url)[-1]
    assert "no server answers at http://127.0.0.1:9" in found("problem", "http://127.0.0.1:9")[-1]
    assert "is no address" in found("problem", "nowhere")[-1]
