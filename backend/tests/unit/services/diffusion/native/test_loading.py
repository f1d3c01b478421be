"""A load in a process that does nothing but serve."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
