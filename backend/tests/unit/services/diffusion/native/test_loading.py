"""A load, also in a process that does nothing but serve."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.engine.interface.config import Demand, EngineConfig
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams
from app.services.diffusion.native.decoding import decoding_params
from app.services.diffusion.native.loading import Loaded, load

VECTORS = Path(__file__).parents[4] / "conformance" / "vectors"
LOADED_FIRST = """
import gc, sys, weakref
from app.core.garbage import postpone_collections
postpone_collections()
from app.engine.interface.config import Demand, EngineConfig
from app.services.diffusion.native.loading import load
loaded = load(sys.argv[1], EngineConfig(device="cpu"), Demand(num_new=20))
engine = weakref.ref(loaded.engine)
loaded.engine.close()
del loaded
gc.collect()
print(gc.get_freeze_count() > 100_000, engine() is None)
"""


def test_what_torch_brings_along_is_never_collected_and_a_model_that_leaves_is() -> None:
    command = [sys.executable, "-c", LOADED_FIRST, str(VECTORS / "llada-tiny")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


@contextmanager
def checkpoint_choosing(name: str, defaults: dict[str, int], folder: Path) -> Iterator[Loaded]:
    shutil.copytree(VECTORS / name, folder, dirs_exist_ok=True)
    path = folder / "generation_config.json"
    generation = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**generation, **defaults}))
    loaded = load(str(folder), EngineConfig(device="cpu"), Demand(num_new=20))
    try:
        yield loaded
    finally:
        loaded.engine.close()


def continuing(**given: Any) -> DiffusionGenerationParams:
    return DiffusionGenerationParams(**{"text": "x", "max_length": 16, **given})


INFILLING = DiffusionInfillingParams(prefix="x", max_length=16)


def test_a_checkpoint_chooses_the_blocks_that_it_writes_by(tmp_path: Path) -> None:
    with checkpoint_choosing("llada-tiny", {"block_length": 4}, tmp_path) as loaded:
        assert decoding_params(loaded.family, continuing()).block_length == 4
        assert decoding_params(loaded.family, continuing(block_length=2)).block_length == 2
        assert decoding_params(loaded.family, continuing(decoding="fast")).block_length == 8
        assert decoding_params(loaded.family, INFILLING).block_length is None


def test_a_checkpoint_chooses_the_masks_that_it_continues_from(tmp_path: Path) -> None:
    with checkpoint_choosing("dreamon-tiny", {"initial_masks": 4}, tmp_path) as loaded:
        assert decoding_params(loaded.family, continuing()).initial_masks == 4
        assert decoding_params(loaded.family, continuing(initial_masks=2)).initial_masks == 2
        assert decoding_params(loaded.family, continuing(max_length=3)).initial_masks == 3
        assert decoding_params(loaded.family, INFILLING).initial_masks == 8


@pytest.mark.parametrize("name", ["dream-tiny", "dreamon-tiny", "llada-tiny"])
def test_what_a_family_does_not_do_is_passed_over(name: str, tmp_path: Path) -> None:
    with checkpoint_choosing(name, {"block_length": 4, "initial_masks": 4}, tmp_path) as loaded:
        decoding = decoding_params(loaded.family, continuing())
        assert (decoding.block_length == 4) == (name == "llada-tiny")
        assert (decoding.initial_masks == 4) == (name == "dreamon-tiny")
