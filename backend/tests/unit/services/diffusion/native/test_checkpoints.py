import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from app.engine.interface.errors import CheckpointError
from app.services.diffusion.native.checkpoints import OwnDefaults, checkpoint_folder, download, own_defaults
from tests.unit.engine.adapters import random_tensors, write_adapter
from tests.unit.engine.checkpoints import CHECKPOINTS


def snapshot(folder: Path, name: str = "dream-tiny") -> Path:
    """A checkpoint as the hub's library would leave it."""
    return Path(shutil.copytree(CHECKPOINTS[name], folder / "snapshot"))


def test_a_folder_is_used_unchanged(tmp_path: Path) -> None:
    assert checkpoint_folder(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    "location", ["/no/such/folder", "no-such-folder", "../x/y", "a/b/c", "~no-such-person/a/b", ""]
)
def test_a_missing_folder_is_named(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if location == "":
        assert checkpoint_folder(location) == Path()  # the working folder, as everywhere
        return
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint_folder(location)


def recorded_downloads(came: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Ids and patterns of the downloads that follow; each of them finds its files in `came`."""
    asked: list[tuple[str, list[str]]] = []

    def snapshot_download(hub_id: str, *, allow_patterns: list[str], **_: Any) -> str:
        asked.append((hub_id, allow_patterns))
        return str(came)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_a_hub_id_is_downloaded_without_code_or_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    came = snapshot(tmp_path)
    asked = recorded_downloads(came, monkeypatch)
    assert checkpoint_folder("organisation/model-7B") == came
    assert asked == [
        ("organisation/model-7B", ["config.json"]),
        ("organisation/model-7B", ["*.safetensors", "*.json", "*.txt", "*.jinja"]),
    ]


def test_a_model_that_is_not_supported_is_refused_before_its_weights_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llada2_moe"}))
    asked = recorded_downloads(tmp_path, monkeypatch)
    with pytest.raises(
        CheckpointError, match=r"checkpoint 'o/big': .*LLaDA2 is not supported, because it is a mixture"
    ):
        checkpoint_folder("o/big")
    assert asked == [("o/big", ["config.json"])]


def test_an_adapter_is_downloaded_without_a_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = random_tensors({"model.layers.0.self_attn.q_proj": (8, 8)})
    came = write_adapter(tmp_path / "snapshot", tensors)
    recorded_downloads(came, monkeypatch)
    assert checkpoint_folder("organisation/adapter", "adapter") == came
    (came / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"did not come whole: .*adapter_model\.safetensors is missing"):
        checkpoint_folder("organisation/adapter", "adapter")


def test_a_failed_download_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(hub_id: str, **_: Any) -> str:
        raise ConnectionError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match=r"'organisation/model' is neither an existing folder.*offline"):
        checkpoint_folder("organisation/model")


def test_a_failed_download_names_broken_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(hub_id: str, **_: Any) -> str:
        raise ValueError("Invalid port: ':1]'\n\n(and more)")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setenv("NO_PROXY", "localhost,[::1]")
    with pytest.raises(CheckpointError, match=r"look at NO_PROXY in the environment") as caught:
        checkpoint_folder("organisation/model")
    assert "\n" not in str(caught.value)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


LOSSES: dict[str, Callable[[Path], None]] = {
    "config.json is missing": lambda folder: (folder / "config.json").unlink(),
    "config.json cannot be read": lambda folder: cut(folder / "config.json"),
    "generation_config.json cannot be read": lambda folder: cut(folder / "generation_config.json"),
    "model-00002-of-00002.safetensors is missing": lambda f: (f / "model-00002-of-00002.safetensors").unlink(),
    "model-00001-of-00002.safetensors is no intact": lambda f: cut(f / "model-00001-of-00002.safetensors"),
    "model.safetensors is missing": lambda folder: (folder / "model.safetensors.index.json").unlink(),
    "vocab.json": lambda folder: remove(folder, "tokenizer.json", "vocab.json"),
    "tokenizer_config.json": lambda folder: cut(folder / "tokenizer_config.json"),
}


@pytest.mark.parametrize("told", LOSSES)
def test_a_download_that_did_not_come_whole_is_none(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library gives back partial folders where it cannot ask, or where a repository holds something else."""
    came = snapshot(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(came))
    assert checkpoint_folder("organisation/model") == came
    LOSSES[told](came)
    with pytest.raises(CheckpointError, match=f"'organisation/model' did not come whole: .*{told}.*download it again"):
        checkpoint_folder("organisation/model")


@pytest.mark.parametrize("there", ["note.txt", "another checkpoint"])
def test_a_folder_that_is_there_is_not_taken_for_a_download(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    folder = snapshot(tmp_path) if there == "another checkpoint" else tmp_path
    (folder / "note.txt").touch()
    with pytest.raises(CheckpointError, match="'o/other' is neither an existing folder nor could it be downloaded"):
        download("o/other", to=folder)


@pytest.mark.parametrize("length", [None, 16])
@pytest.mark.parametrize("name", OwnDefaults._fields)
def test_a_checkpoint_may_choose_a_default_itself(name: str, length: int | None, tmp_path: Path) -> None:
    assert own_defaults(tmp_path) == OwnDefaults()
    (tmp_path / "generation_config.json").write_text(json.dumps({name: length, "temperature": 0.2}))
    assert own_defaults(tmp_path) == OwnDefaults(**{name: length})


@pytest.mark.parametrize("name", OwnDefaults._fields)
@pytest.mark.parametrize("value", [0, -1, 2049, True, 16.0, "16", [16]])
def test_a_default_that_is_no_length_is_named(name: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({name: value}))
    with pytest.raises(
        CheckpointError, match=rf"generation_config\.json: {name}=.* is not a whole number from 1 to 2048"
    ):
        own_defaults(tmp_path)
