#!/usr/bin/env bash
# onnxruntime 1.32.0 with onnx 1.23.2 (Linux).
# Guess: a session made from the bytes of a model takes its weights' size of memory: they are packed once, for the products.
# Instead: it takes 1.6 to 2 times that, and keeps it, beside the bytes themselves. The same weights given by
#   `add_external_initializers`, where the bytes hold their shapes only, take 1.2 times; numbers and results are the same.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 || exit 2

cat >"$folder/session.py" <<'PYTHON'
import gc
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH = 16, 1024
is_inside = sys.argv[1] == "inside"
chance = np.random.default_rng(0)
weights = {f"w{layer}": chance.random((WIDTH, WIDTH), np.float32) for layer in range(LAYERS)}


def initializer(name, weight):
    if is_inside:
        return numpy_helper.from_array(weight, name)
    tensor = TensorProto(name=name, dims=weight.shape, data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="memory")
    tensor.external_data.add(key="length", value=str(weight.nbytes))
    return tensor


def resident_mb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1024


nodes = [helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"x{n + 1}"]) for n in range(LAYERS)]
given = [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["N", WIDTH])]
wanted = [helper.make_tensor_value_info(f"x{LAYERS}", TensorProto.FLOAT, None)]
graph = helper.make_graph(nodes, "g", given, wanted, [initializer(*each) for each in weights.items()])
content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
del graph
gc.collect()
options = onnxruntime.SessionOptions()
if not is_inside:
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(weight) for weight in weights.values()]
    options.add_external_initializers([*weights], values)
before = resident_mb()
session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
size = sum(weight.nbytes for weight in weights.values()) / 2**20
print(round((resident_mb() - before) / size, 2))
PYTHON
inside=$("$folder/venv/bin/python" "$folder/session.py" inside)
outside=$("$folder/venv/bin/python" "$folder/session.py" outside)
echo "version:  onnxruntime 1.32.0, onnx 1.23.2, 16 weights of 4 MB"
echo "expected: 1 time the weights' size either way"
echo "seen:     $inside times from bytes that hold the weights, $outside times from bytes that do not"
python3 -c "import sys; sys.exit(not ($inside > 1.45 and $outside < 1.35))"
