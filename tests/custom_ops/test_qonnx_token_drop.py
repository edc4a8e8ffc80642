"""The QONNX op TokenDrop: found by qonnx, shapes and types inferred, executed as the contract says."""

import numpy as np
import pytest
import qonnx.core.onnx_exec as oxe
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp, is_custom_op
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.transformation.infer_shapes import InferShapes

from finn_vitprune import numerics

DOMAIN = "finn_vitprune.custom_ops"


def model_of(batch, tokens, channels, k, scale, heads):
    """A model of the one node, its output's shape unknown."""
    mult, shift = numerics.head_mean_constant(heads)
    node = helper.make_node("TokenDrop", ["x", "s"], ["y"], domain=DOMAIN, k=k, scale=scale, mult=mult, shift=shift)
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, tokens, channels)),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, (batch, tokens)),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    graph = helper.make_graph([node], "drop", inputs, [output])
    return ModelWrapper(helper.make_model(graph, opset_imports=opsets))


def run(model, x, s):
    return oxe.execute_onnx(model.transform(InferShapes()), {"x": x, "s": s})["y"]


def test_qonnx_finds_the_op_in_the_projects_domain():
    assert is_custom_op(DOMAIN, "TokenDrop")
    op = getCustomOp(model_of(1, 4, 2, 1, 0.5, 1).graph.node[0])
    assert op.get_nodeattr("k") == 1 and op.verify_node() == []


@pytest.mark.parametrize("k,tokens_out", [(1, 3), (7, 9), (8, 10), (9, 10)])
def test_shape_and_type_are_inferred(k, tokens_out):
    model = model_of(2, 10, 6, k, 0.5, 2).transform(InferShapes()).transform(InferDataTypes())
    assert model.get_tensor_shape("y") == [2, tokens_out, 6]
    assert model.get_tensor_datatype("y") == DataType["FLOAT32"]


@pytest.mark.parametrize("heads,k,scale", [(1, 3, 2.0**-9), (3, 5, 0.0123), (6, 1, 1.7)])
def test_kept_rows_are_copied_and_the_rest_is_fused(heads, k, scale):
    """Against the definition in float64: rows by brute-force rank, fused = sum of mean attention times x."""
    batch, n, d = 3, 9, 4
    rng = np.random.default_rng(heads)
    scale = float(np.float32(scale))
    codes = rng.integers(-20000, 20000, (batch, n, d))
    s = np.floor(rng.dirichlet(np.ones(n), (batch, heads)) * 65536).sum(1)
    s[0, 3] = s[0, 5]
    y = run(model_of(batch, n, d, k, scale, heads), (codes * scale).astype(np.float32), s.astype(np.float32))
    assert y.dtype == np.float32 and y.shape == (batch, k + 2, d)
    for frame in range(batch):
        order = sorted(range(1, n), key=lambda i: (-s[frame, i], i))
        rows = [0, *sorted(order[:k])]
        assert np.array_equal(y[frame, :-1], (codes[frame, rows] * scale).astype(np.float32))
        fused = sum(s[frame, i] * codes[frame, i] for i in order[k:]) / (65536 * heads)
        assert np.abs(y[frame, -1] / scale - fused).max() <= 0.5 + 20000 * 2.0**-16
        assert np.allclose(y[frame, -1] / scale, np.rint(y[frame, -1] / scale), atol=1e-2), "not on the grid"


def test_nothing_dropped_is_the_identity():
    x = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    assert np.array_equal(run(model_of(1, 4, 3, 3, 1.0, 2), x, np.ones((1, 4), np.float32)), x)


def test_codes_survive_float_rounding_of_the_scale():
    """x = code * scale in float32 is up to 2^-9 off a code at 2^15: the nearest code is taken, not the floor."""
    scale = float(np.float32(1 / 3))
    codes = np.array([[[32767, -32768], [32766, -32767], [12345, -12345], [1, -1]]])
    x = (codes.astype(np.float32) * np.float32(scale)).astype(np.float32)
    y = run(model_of(1, 4, 2, 2, scale, 1), x, np.array([[0, 9, 8, 0]], np.float32))
    assert np.array_equal(np.rint(y[0, :3] / scale), codes[0, :3]) and not y[0, 3].any()
