"""Writes a checkpoint of a published shape that a server loads, with random weights:
`python -m benchmarks.random_checkpoint --shape sdar-1.7b --folder DIR`, from the repository root.

The tokenizer is the small one of the golden vectors, so ids with a role are those of its checkpoint, and most rows of
the head have no token. The text is noise; what it costs to compute is not.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.shapes import BLOCK_CAUSAL, random_model

VECTORS = Path(__file__).parents[1] / "backend" / "tests" / "conformance" / "vectors" / "block"
TOKENIZERS = {"sdar": "sdar-tiny", "llama": "stable-diffcoder-tiny", "Fast_dLLM_Qwen": "fast-dllm-v2-tiny"}
"""The checkpoint whose tokenizer is taken, by `model_type`."""


def write_checkpoint(folder: Path, published: dict[str, Any], dtype: torch.dtype = torch.bfloat16) -> dict[str, Any]:
    """Writes the folder, and gives its `config.json`: the published one with the ids of the small tokenizer."""
    source = VECTORS / TOKENIZERS[published["model_type"]]
    small = json.loads((source / "config.json").read_text())
    config = {**published, **{key: value for key, value in small.items() if key.endswith("_token_id")}}
    weights = {name: weight.contiguous() for name, weight in _random_weights(config, dtype).items()}
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if not path.name.startswith(("model", "config")):
            shutil.copyfile(path, folder / path.name)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return config


def _random_weights(config: dict[str, Any], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The names do not depend on the mask, whose id some families leave to the tokenizer."""
    return random_model({"mask_token_id": 0, **config}, torch.device("cpu"), dtype).state_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=BLOCK_CAUSAL, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    write_checkpoint(options.folder, BLOCK_CAUSAL[options.shape])


if __name__ == "__main__":
    main()
