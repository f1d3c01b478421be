#!/usr/bin/env bash
# onnxruntime 1.32.0 with onnx 1.23.2, on the processor.
# Guess: a model that `quantize_dynamic` made gives NaN where the float model gives NaN, so that a layer that broke can be seen in what
#   it answers; and a row's NaN is its own.
# Instead: DynamicQuantizeLinear leaves NaN out of the least and the largest value and makes it the byte 0, the least value of the
#   tensor: a row with a NaN, or of nothing else, gets finite numbers. In some places of the tensor the NaN counts, and then the scale
#   is NaN, and with it the rows of all others in the batch. The operator's own definition, as onnx evaluates it, has NaN in all places.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 || exit 2

cat >"$folder/ask.py" <<'PYTHON'
import logging
import warnings
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import QuantType, quantize_dynamic

logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
NAN, FLOAT = np.nan, TensorProto.FLOAT


def model(node, outputs, weights=()):
    inputs = [helper.make_tensor_value_info("x", FLOAT, ["rows", "columns"])]
    return helper.make_model(helper.make_graph([node], "any", inputs, outputs, list(weights)), opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def session(source):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def answers(asked, rows):
    return asked.run(None, {"x": np.array(rows, np.float32)})


weights = np.array([[1, -2], [3, 1], [-1, 2], [2, 1]], np.float32)
product = model(helper.make_node("MatMul", ["x", "w"], ["y"]), [helper.make_tensor_value_info("y", FLOAT, None)], [numpy_helper.from_array(weights, "w")])
onnx.save(product, "float.onnx")
quantize_dynamic("float.onnx", "int8.onnx", weight_type=QuantType.QInt8)
plain, int8 = session("float.onnx"), session("int8.onnx")
finite = {}
for name, rows in {"one NaN": [[1, NAN, 3, 4]], "all NaN": [[NAN] * 4], "a row beside one of NaN": [[1, 2, 3, 4], [NAN] * 4]}.items():
    of = [np.isfinite(answers(each, rows)[0]).all(axis=1).tolist() for each in (plain, int8)]
    finite[name] = of
    print(f"seen:     {name}: {answers(plain, rows)[0].tolist()} in float, {answers(int8, rows)[0].tolist()} in int8")

kinds = (TensorProto.UINT8, FLOAT, TensorProto.UINT8)
outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in zip("yse", kinds, strict=True)]
quantize = model(helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "e"]), outputs)
asked, reference = session(quantize.SerializeToString()), ReferenceEvaluator(quantize)
places = {}
for length in (6, 64):
    for place in (0, length // 2, length - 1):
        row = np.linspace(-1, 1, length, dtype=np.float32)[None]
        row[0, place] = NAN
        places[length, place] = tuple(bool(np.isnan(each.run(None, {"x": row})[1])) for each in (asked, reference))
print(f"          is the scale NaN, by onnxruntime and by onnx, for a NaN at place p of n: {places}")
print("version:  onnxruntime", version("onnxruntime"), "with onnx", version("onnx"))
print("expected: NaN in int8 wherever there is NaN in float, and nowhere else")
hides = finite["one NaN"] == [[False], [True]] and finite["all NaN"] == [[False], [True]]
spreads = finite["a row beside one of NaN"] == [[True, False], [False, False]]
raise SystemExit(0 if hides and spreads and {each for each in places.values()} == {(False, True), (True, True)} else 1)
PYTHON
cd "$folder"
"$folder/venv/bin/python" ask.py
