#!/usr/bin/env bash
# onnxruntime 1.32.0 with onnx 1.23.2 and numpy 2.4.6, on the processor.
# Guess: ReduceMax, ReduceMin and ArgMax of a row with a NaN give NaN and its place, as NumPy does, and as onnxruntime's own Max, Min
#   and TopK do.
# Instead: a NaN counts where it stands first, and is passed over in any other place: ArgMax of logits with a NaN names a token as if
#   nothing were wrong, and TopK with k = 1 names another one.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
from importlib.metadata import version

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
ONE = helper.make_tensor("one", INT64, [1], [1])
NODES = (
    helper.make_node("ReduceMax", ["x", "one"], ["reduce_max"], keepdims=0),
    helper.make_node("ReduceMin", ["x", "one"], ["reduce_min"], keepdims=0),
    helper.make_node("ArgMax", ["x"], ["arg_max"], axis=1, keepdims=0),
    helper.make_node("Max", ["x", "x"], ["max"]),
    helper.make_node("Min", ["x", "x"], ["min"]),
    helper.make_node("TopK", ["x", "one"], ["top", "top_place"]),
)
KINDS = {name: INT64 if name in ("arg_max", "top_place") else FLOAT for node in NODES for name in node.output}
outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in KINDS.items()]
graph = helper.make_graph(NODES, "any", [helper.make_tensor_value_info("x", FLOAT, [1, "n"])], outputs, [ONE])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

print("version:  onnxruntime", version("onnxruntime"), "with numpy", np.__version__)
print("expected: NaN and its place, wherever it stands")
found = []
for place in range(4):
    row = np.array([[1, 4, 3, 2]], np.float32)
    row[0, place] = np.nan
    seen = dict(zip(KINDS, session.run(None, {"x": row}), strict=True))
    assert np.isnan(row.max()) and row.argmax() == place
    assert np.isnan(seen["max"][0, place]) and np.isnan(seen["min"][0, place])
    reduced = [bool(np.isnan(seen[name][0])) for name in ("reduce_max", "reduce_min")]
    found.append((*reduced, int(seen["arg_max"][0]) == place, int(seen["top_place"][0, 0]) == place))
    words = {name: seen[name].ravel().tolist()[0] for name in ("reduce_max", "reduce_min", "arg_max", "top_place")}
    print(f"seen:     {row[0].tolist()}: {words}")
raise SystemExit(0 if found == [(True,) * 4] + [(False, False, False, True)] * 3 else 1)
PYTHON
"$folder/venv/bin/python" "$folder/ask.py"
