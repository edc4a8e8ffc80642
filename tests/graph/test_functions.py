"""Functions of one tensor, against ONNX's own reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from finn_vitprune.execute.qonnx_runner import FLOAT32_ONLY
from finn_vitprune.graph.functions import UNARY, unary
from finn_vitprune.graph.reading import read_node

ELSEWHERE = {"QuickGelu", "FastGelu"}
"""Of Microsoft's domain, not ONNX's."""
X = np.array([0.05, 0.5, 1.0, 2.5, 7.0])
"""Where all of them are defined."""


def model(op_type: str, opset: int) -> onnx.ModelProto:
    """``y = op_type(x)`` in float64."""
    ends = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [len(X)]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(op_type, ["x"], ["y"], name="n")], "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def of(op_type: str, x: np.ndarray) -> np.ndarray:
    return unary(read_node(model(op_type, 20).graph.node[0], Path()))(x)


@pytest.mark.parametrize("op_type", sorted(UNARY.keys() - ELSEWHERE))
def test_a_function_is_that_of_onnx(op_type):
    opset = 24 if op_type == "Swish" else 20
    (expected,) = ReferenceEvaluator(model(op_type, opset)).run(None, {"x": X})
    assert of(op_type, X) == pytest.approx(expected, rel=1e-6)
    if op_type not in ("Log", "Sqrt"):
        (expected,) = ReferenceEvaluator(model(op_type, opset)).run(None, {"x": -X})
        assert of(op_type, -X) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("op_type", sorted(UNARY.keys() - ELSEWHERE - {"Swish"}))
def test_the_list_of_functions_in_float32_is_onnxruntime_s(op_type):
    try:
        onnxruntime.InferenceSession(model(op_type, 20).SerializeToString(), providers=["CPUExecutionProvider"])
        double = True
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        double = False
    assert double == (op_type not in FLOAT32_ONLY)
