#!/usr/bin/env bash
# safetensors 0.6.2, reading a file of 0.7.0.
# Guess: a reader that does not know the type of one tensor still reads the others, for the header tells where each lies.
# Instead: 0.7.0 saves complex64 (such as a buffer of rotary frequencies), and 0.6.2 then reads nothing of that file: not
#   the float32 tensor beside it, not even the names. The error speaks of invalid JSON, though the header is valid JSON.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 0.7.0 0.6.2; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "safetensors==$version" numpy==2.4.6 || exit 2
done

"$folder/0.7.0/bin/python" - "$folder/both.safetensors" <<'PYTHON'
import sys

import numpy
from safetensors.numpy import save_file

save_file({"weight": numpy.ones(2, numpy.float32), "rotary": numpy.ones(2, numpy.complex64)}, sys.argv[1])
PYTHON

cat > "$folder/read.py" <<'PYTHON'
import json
import sys
from pathlib import Path

import safetensors

path, expected = Path(sys.argv[1]), sys.argv[2]
content = path.read_bytes()
header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
try:
    with safetensors.safe_open(path, "numpy") as file:
        seen = f"weight is {file.get_tensor('weight').tolist()}"
except safetensors.SafetensorError as error:
    seen = str(error).partition(", expected one of")[0]
print(f"version:  safetensors {safetensors.__version__}; types in the header, which is JSON:", end=" ")
print({name: entry["dtype"] for name, entry in header.items() if "dtype" in entry})
print("expected: weight is [1.0, 1.0]")
print(f"seen:     {seen}")
sys.exit(0 if expected in seen else 1)
PYTHON
"$folder/0.7.0/bin/python" "$folder/read.py" "$folder/both.safetensors" "weight is [1.0, 1.0]"
"$folder/0.6.2/bin/python" "$folder/read.py" "$folder/both.safetensors" "invalid JSON in header: unknown variant \`C64\`"
