"""Opens a file of weights, of whichever format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.engine.families import checkpoint_files
from app.engine.families.gguf_checkpoint import GgufWeights


def open_weights(path: Path) -> Any:
    """An open file with `keys`, `get_slice` and `get_tensor`; its header has been checked against its size.

    Raises:
        CheckpointError: the file is damaged or cut off.
    """
    return GgufWeights(path) if path.suffix.lower() == ".gguf" else checkpoint_files.open_weights(path)
