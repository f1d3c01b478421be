"""Converts the embedded llada to GGUF for llama.cpp: `python -m benchmarks.to_gguf LLAMA_CPP OUT.gguf [f32|f16|q8_0]`.

The program runs llama.cpp's own converter, which needs `transformers` and `sentencepiece`, and adds two facts: the kind
of the tokenizer (the converter knows published ones by a hash), and the mask token.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.speed import MODELS


def teach(mask_id: int) -> None:
    """Adapts the converter's classes, once its folder is on the path."""
    base, llada = import_module("conversion.base"), import_module("conversion.llada")
    for kind in vars(base).values():
        if isinstance(kind, type) and hasattr(kind, "get_vocab_base_pre"):
            kind.get_vocab_base_pre = lambda *_: "gpt-2"
    published = llada.LLaDAModel.set_gguf_parameters

    def with_mask(model: Any) -> None:
        published(model)
        model.gguf_writer.add_mask_token_id(mask_id)

    llada.LLaDAModel.set_gguf_parameters = with_mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama_cpp", type=Path, help="the folder of its sources")
    parser.add_argument("output", type=Path)
    parser.add_argument("type", choices=("f32", "f16", "q8_0"), nargs="?", default="f32")
    options = parser.parse_args()
    folder = MODELS / "llada"
    sys.path[:0] = [str(options.llama_cpp), str(options.llama_cpp / "gguf-py")]
    teach(json.loads((folder / "config.json").read_text())["mask_token_id"])
    sys.argv = ["convert", str(folder), "--outfile", str(options.output), "--outtype", options.type]
    runpy.run_path(str(options.llama_cpp / "convert_hf_to_gguf.py"), run_name="__main__")


if __name__ == "__main__":
    main()
