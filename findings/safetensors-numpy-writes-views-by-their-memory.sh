#!/usr/bin/env bash
# safetensors 0.7.0 and 0.8.0, with numpy 2.4.6.
# Guess: `safetensors.numpy.save_file` and `save` write a transposed or a sliced array as numpy shows it, or refuse it, as the
#   functions for torch do ("non contiguous tensor").
# Instead: 0.7.0 writes it right. 0.8.0 writes the bytes that lie where the array begins, row after row, under the array's shape:
#   what is loaded has the right shape and other values, and nothing is said. Its documentation asks for contiguous arrays, and so
#   did that of 0.7.0. `np.ascontiguousarray` helps. Reported there in August 2026 as issue 825.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for release in 0.7.0 0.8.0; do
    python3 -m venv "$folder/$release"
    "$folder/$release/bin/pip" install --quiet "safetensors==$release" numpy==2.4.6 || exit 2
done

cat >"$folder/ask.py" <<'PYTHON'
import warnings
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load, load_file, save, save_file

warnings.simplefilter("error")
array = np.arange(24, dtype=np.float32).reshape(4, 6)
arrays = {
    "as it is": array,
    "transposed": array.T,
    "in Fortran's order": np.asfortranarray(array),
    "every second row": array[::2],
    "transposed and copied": np.ascontiguousarray(array.T),
}


def is_kept(one):
    """Whether both ways to write give the values back."""
    save_file({"x": one}, "x.safetensors")
    loaded = load_file("x.safetensors")["x"], load(save({"x": one}))["x"]
    assert all(each.shape == one.shape for each in loaded)
    return all(np.array_equal(each, one) for each in loaded)


changed = [name for name, one in arrays.items() if not is_kept(one)]
save_file({"x": array.T}, "x.safetensors")
print("version:  safetensors", version("safetensors"), "with numpy", version("numpy"))
print("expected: each array comes back with its values")
print("seen:     changed:", ", ".join(changed) or "none", "| the first column of array.T, then as loaded:", array.T[:, 0].tolist(), load_file("x.safetensors")["x"][:, 0].tolist())
views = ["transposed", "in Fortran's order", "every second row"]
raise SystemExit(0 if changed == ([] if version("safetensors") == "0.7.0" else views) else 1)
PYTHON
cd "$folder"
for release in 0.7.0 0.8.0; do
    "$folder/$release/bin/python" "$folder/ask.py"
done
