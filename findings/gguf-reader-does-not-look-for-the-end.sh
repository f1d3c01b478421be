#!/usr/bin/env bash
# gguf 0.19.0.
# Guess: `GGUFReader` refuses a file that was cut off with an error of its own that says so, wherever it was cut.
# Instead: it does not compare its places with the size of the file. What is raised are numpy's errors, of other kinds at
#   other places: "cannot reshape array", "index 0 is out of bounds", "its size must be a divisor".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gguf==0.19.0 numpy==2.4.6 || exit 2

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy

path = Path("model.gguf")
writer = gguf.GGUFWriter(path, "llama")
writer.add_tensor("x", numpy.zeros((64, 1024), numpy.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
whole = path.read_bytes()


def raised(length):
    """Gives what is raised for a file of so many bytes."""
    path.write_bytes(whole[:length])
    try:
        gguf.GGUFReader(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


found = {length: raised(length) for length in (len(whole), len(whole) - 4, 40, 20)}
print(f"version:  gguf {version('gguf')}")
print("expected: an error that says that the file was cut off")
for length, error in found.items():
    print(f"seen:     {length:>7} bytes of {len(whole)}: {error}")
kinds = [error.partition(":")[0] for error in found.values()]
sys.exit(0 if kinds == ["nothing", "ValueError", "IndexError", "ValueError"] and "reshape" in found[len(whole) - 4] else 1)
PYTHON
