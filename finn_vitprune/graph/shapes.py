"""Shapes of a node's outputs by ONNX's own inference, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto, defs, helper, numpy_helper, shape_inference

from finn_vitprune.graph.node import Node

SMALL = 64
"""Constants of so many numbers are given to shape inference."""
POSITIVE = frozenset("strides kernel_shape dilations group blocksize block_size num_outputs".split())
"""Attributes that ONNX's shape inference divides by, and ends the process where one is zero."""


def as_proto(node: Node) -> NodeProto:
    """The node as ONNX has it."""
    tensors = {k: numpy_helper.from_array(v) for k, v in node.attributes.items() if isinstance(v, np.ndarray)}
    return helper.make_node(node.op_type, node.inputs, node.outputs, **{**node.attributes, **tensors})


def output_shapes(
    node: Node, opset: int, inputs: Sequence[np.ndarray | tuple[int, ...] | None]
) -> list[tuple[int, ...] | None]:
    """Shapes of the outputs; None where ONNX does not tell, or the node is damaged.

    Args:
        inputs: a constant, or the shape of a computed tensor (its type does not matter), or None where left out.
    """
    unknown = [None] * len(node.outputs)
    divisors = [np.asarray(node.attributes[a]) for a in POSITIVE & set(node.attributes)]
    if node.domain not in ("", "ai.onnx") or any(d.dtype.kind != "i" or np.any(d < 1) for d in divisors):
        return unknown
    try:
        schema, proto = defs.get_schema(node.op_type, opset, ""), as_proto(node)
    except (defs.SchemaError, ValueError, TypeError):
        return unknown
    constants = {name: a for name, a in zip(node.inputs, inputs) if isinstance(a, np.ndarray)}
    fixed = {name: _type(helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for name, a in constants.items()}
    data = {n: numpy_helper.from_array(a) for n, a in constants.items() if a.dtype.kind in "iuf" and a.size <= SMALL}
    computed = [(name, shape) for name, shape in zip(node.inputs, inputs) if isinstance(shape, tuple)]
    opsets = [helper.make_opsetid("", opset)]
    for kinds in product((TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL), repeat=min(len(computed), 4)):
        of_computed = (*kinds, *[TensorProto.FLOAT] * len(computed))
        types = fixed | {name: _type(kind, shape) for (name, shape), kind in zip(computed, of_computed)}
        try:
            made = shape_inference.infer_node_outputs(schema, proto, types, data, opset_imports=opsets)
        except (onnx.checker.ValidationError, shape_inference.InferenceError, RuntimeError, ValueError, TypeError):
            continue
        shapes = [_shape_of(made.get(t)) for t in node.outputs]
        if shapes and shapes[0] is not None:
            return shapes
    return unknown


def _type(kind: int, shape: Iterable[int]) -> TypeProto:
    return helper.make_tensor_type_proto(kind, [int(d) for d in shape])


def _shape_of(made: TypeProto | None) -> tuple[int, ...] | None:
    if made is None or not made.tensor_type.HasField("shape"):
        return None
    dims = [d.dim_value if d.HasField("dim_value") else None for d in made.tensor_type.shape.dim]
    return None if None in dims else tuple(dims)
