#!/usr/bin/env bash
# onnxruntime 1.32.0.
# Guess: what `InferenceSession.run` raises is a RuntimeError, as with most libraries written in C++ and as the name of
#   its class `RuntimeException` promises, so `except RuntimeError` catches a failing run.
# Instead: every error class of ONNX Runtime derives straight from Exception; `except RuntimeError` catches none of them.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 || exit 2

"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as state

pair = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("a", "b", "sum")}
graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["sum"])], "add", [pair["a"], pair["b"]], [pair["sum"]])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def caught_by(length: int) -> str:
    """Gives the name of the clause that caught a run whose second input has that many elements."""
    ones = numpy.ones(2, numpy.float32)
    try:
        session.run(None, {"a": ones, "b": numpy.ones(length, numpy.float32)})
    except RuntimeError as error:
        return f"RuntimeError, by {type(error).__name__}"
    except Exception as error:
        return f"Exception, by {type(error).__name__}"
    return "nothing raised"


classes = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, BaseException)]
runtime_errors = [value.__name__ for value in classes if issubclass(value, RuntimeError)]
print(f"version:  onnxruntime {onnxruntime.__version__}")
print("expected: an input of a wrong length is caught as RuntimeError")
print(f"seen:     right length: {caught_by(2)}; wrong length: {caught_by(3)};")
print(f"          of {len(classes)} error classes, {len(runtime_errors)} are RuntimeErrors; bases of RuntimeException:", end=" ")
print(", ".join(base.__name__ for base in state.RuntimeException.__bases__))
as_stated = caught_by(2) == "nothing raised" and caught_by(3) == "Exception, by InvalidArgument"
sys.exit(0 if as_stated and classes and not runtime_errors else 1)
PYTHON
