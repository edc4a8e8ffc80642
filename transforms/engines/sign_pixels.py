"""Signed pixel codes for a patch embedding that runs on a unit of signed codes."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.transforms.engines.bind import BEFORE_ENCODERS, Engine
from finn_vitprune.transforms.streams.edges import position


def sign_pixels(model: ModelWrapper, engine: Engine) -> tuple[str, ...]:
    """Let the patch embedding of an engine take codes of n bits less 2^(n-1), which are signed; the sums stay the same, exactly:
    the biases have 2^(n-1) times the sum of the weights of their column on top.

    What makes the codes is a table in the flat graph. The entry of the engine inverts their top bit.

    Returns:
        The name of the node with the table; nothing where pixel codes are signed, or the patch embedding has a unit of its own.
    """
    if engine.encoders[-1] != BEFORE_ENCODERS:
        return ()
    (name,) = next(names for unit in engine.units if (names := unit.nodes[-1]))
    node = next(node for node in model.graph.node if node.name == name)
    op = getCustomOp(node)
    stream, (weights, bias) = op.in_streams()[0], (np.rint(model.get_initializer(t).astype(np.float64)) for t in node.input[1:3])
    if stream.dtype.signed():
        return ()
    half = 1 << (stream.dtype.bitwidth() - 1)
    signed = DataType[f"INT{stream.dtype.bitwidth()}"]
    pixels, (codes, table, biases) = node.input[0], (f"{name}_{what}" for what in ("signed", "signs", "bias"))
    signing = f"{name}_signing"
    for tensor, values in ((table, np.arange(2 * half, dtype=np.float32) - half), (biases, bias + half * weights.sum(0))):
        model.graph.initializer.append(numpy_helper.from_array(values, tensor))
    model.set_tensor_datatype(table, signed)
    model.set_tensor_datatype(biases, DataType["INT32"])
    model.graph.node.insert(position(model, node), make_node(
        "VitLookup_rtl", [pixels, table], [codes], name=signing, tokens=stream.tokens, channels=stream.channels, SIMD=stream.simd,
        inputDataType=stream.dtype.name, outputDataType=signed.name,
    ))  # fmt: skip
    model.set_tensor_shape(codes, list(stream.shape))
    model.set_tensor_datatype(codes, signed)
    node.input[0], node.input[2] = codes, biases
    op.set_nodeattr("inputDataType", signed.name)
    return (signing,)
