from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from app.engine.errors import CheckpointError
from app.services.diffusion.checkpoints import checkpoint_folder


def test_a_folder_is_taken_as_it_stands(tmp_path: Path) -> None:
    assert checkpoint_folder(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("location", ["/no/such/folder", "no-such-folder", "../x/y", "a/b/c", ""])
def test_a_missing_folder_is_named(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if location == "":
        assert checkpoint_folder(location) == Path()  # the working folder, as everywhere
        return
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint_folder(location)


def test_a_hub_id_is_downloaded_without_code_or_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(hub_id: str, *, allow_patterns: list[str], **_: Any) -> str:
        asked.update(hub_id=hub_id, allow_patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert checkpoint_folder("organisation/model-7B") == tmp_path
    assert asked == {
        "hub_id": "organisation/model-7B",
        "allow_patterns": ["*.safetensors", "*.json", "*.txt", "*.jinja"],
    }


def test_a_failed_download_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(hub_id: str, **_: Any) -> str:
        raise ConnectionError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match=r"'organisation/model' is neither an existing folder.*offline"):
        checkpoint_folder("organisation/model")
