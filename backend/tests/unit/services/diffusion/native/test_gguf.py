from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("gguf", reason="needs the extra gguf")

from app.services.diffusion.diffusion_service import DiffusionLLMService
from app.services.diffusion.native.checkpoints import checkpoint_folder, is_hub_id
from tests.unit.engine.checkpoints import CHECKPOINTS
from tests.unit.engine.gguf_files import write_gguf


async def test_a_file_writes_what_its_checkpoint_writes_and_a_broken_one_stops_no_other(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf", CHECKPOINTS["llada-tiny"])
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(whole.read_bytes()[:-100])
    service = DiffusionLLMService()
    await service.initialize(
        {
            "llada_path": str(CHECKPOINTS["llada-tiny"]),
            "dreamon_path": str(CHECKPOINTS["dreamon-tiny"]),
            "extra_models": f"whole={whole},broken={broken}",
            "default_model": "llada",
            "device_preference": "cpu",
            "max_length": 16,
            "model_fallback": False,
        }
    )
    try:
        published, own = [
            (await service.generate_stream("def main", model_id=name, seed=3)).text for name in ("llada", "whole")
        ]
        assert own == published != ""
        (details,) = [model for model in service.model_details() if model.model_id == "broken"]
        assert not details.is_available
        assert "broken.gguf was cut off: " in str(details.error)
    finally:
        await service.close()


def test_the_path_of_a_file_is_no_hub_id(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", CHECKPOINTS["dream-tiny"])
    assert checkpoint_folder(str(path)) == path
    assert not is_hub_id("models/llada.gguf")
