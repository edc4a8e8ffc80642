"""Computes what depends on constants alone: shape arithmetic, masks, folded embeddings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import helper

from finn_vitprune.graph.functions import BINARY, unary
from finn_vitprune.graph.node import Node
from finn_vitprune.graph.reason import Reason

MAX_ELEMENTS = 1 << 25
"""Largest tensor that is made while reading a model; 4,096 tokens of width 1,024 are 2**22."""

MAX_HELD = 1 << 29
"""Bytes of results that are held at a time, what the file itself holds left out."""

Array = np.ndarray


def limit(shape) -> None:
    """Refuse a tensor of more than :data:`MAX_ELEMENTS`."""
    elements = 1
    for d in shape:
        elements *= max(int(d), 0)
    if elements > MAX_ELEMENTS:
        raise Reason(f"its result of shape {[int(d) for d in shape]} has more than {MAX_ELEMENTS:,} elements")


REFERENCE = frozenset({
    "LayerNormalization", "Softmax", "LogSoftmax", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin",
    "ReduceProd",
    "Trilu", "CumSum", "ScatterND", "ScatterElements", "GatherND", "GatherElements", "ArgMax", "ArgMin",
    "NonZero", "IsNaN", "IsInf", "Xor", "Size", "TopK", "Clip",
})  # fmt: skip
"""Ops that onnx's own reference implementation computes; their results are no larger than their inputs."""


def evaluate(node: Node, opset: int, inputs: list[Array | None]) -> list[Array]:
    """Outputs of a node whose inputs are all constants.

    Raises:
        Reason: the op is not known here, or its result is too large.
    """
    op = node.op_type
    function = unary(node)
    if function is not None and len(inputs) == 1:
        return [_like(function(inputs[0]), inputs[0])]
    if op in BINARY and len(inputs) >= 1:
        result = inputs[0]
        for other in inputs[1:]:
            limit(np.broadcast_shapes(result.shape, other.shape))
            result = BINARY[op](result, other)
        return [result]
    if op in OTHERS:
        result = OTHERS[op](node, inputs)
        return result if isinstance(result, list) else [result]
    if op in REFERENCE:
        return _by_reference(node, opset, inputs)
    raise Reason(
        f"{op} of constants is not computed here", "fold constants before, with onnxsim or onnxruntime"
    )


def _like(result: Array, source: Array) -> Array:
    return result.astype(source.dtype) if source.dtype.kind == "f" else result


def cast(array: Array, to: int) -> Array:
    """``Cast``; all half-precision kinds are float32 here."""
    target = np.dtype(helper.tensor_dtype_to_np_dtype(to))
    if target.kind not in "biufO":  # kinds of ml_dtypes
        target = np.dtype(np.float32)
    return array.astype(np.float32 if target == np.float16 else target)


def _constant_of_shape(node: Node, inputs: list) -> Array:
    shape = [int(d) for d in inputs[0].reshape(-1)]
    limit(shape)
    value = node.attributes.get("value", np.zeros(1, np.float32))
    return np.full(shape, np.asarray(value).reshape(-1)[0])


def _range(node: Node, inputs: list) -> Array:
    start, stop, step = (a.reshape(-1)[0] for a in inputs)
    limit([max(0, -(-(float(stop) - float(start)) // float(step)))])
    return np.arange(start, stop, step).astype(inputs[0].dtype)


def _expand(node: Node, inputs: list) -> Array:
    shape = np.broadcast_shapes(inputs[0].shape, tuple(int(d) for d in inputs[1].reshape(-1)))
    limit(shape)
    return np.broadcast_to(inputs[0], shape)


def _tile(node: Node, inputs: list) -> Array:
    repeats = [int(r) for r in inputs[1].reshape(-1)]
    limit([d * r for d, r in zip(inputs[0].shape, repeats, strict=True)])
    return np.tile(inputs[0], repeats)


def _pad(node: Node, inputs: list) -> Array:
    """``Pad`` with a constant; pads are all starts, then all ends, of the axes given or of all."""
    mode = node.attributes.get("mode", "constant")
    if mode != "constant":
        raise Reason(f"Pad in mode {mode} is not computed here", "fold constants before")
    x, pads = inputs[0], [int(p) for p in inputs[1].reshape(-1)]
    value = inputs[2].reshape(-1)[0] if len(inputs) > 2 and inputs[2] is not None else 0
    given = inputs[3].reshape(-1) if len(inputs) > 3 and inputs[3] is not None else range(x.ndim)
    axes = [int(a) % x.ndim for a in given]
    if len(pads) != 2 * len(axes) or min(pads, default=0) < 0:
        raise Reason(f"pads {pads} of {len(axes)} axes are not computed here", "fold constants before")
    widths = [(0, 0)] * x.ndim
    for axis, pair in zip(axes, zip(pads, pads[len(axes) :])):
        widths[axis] = pair
    limit([d + sum(w) for d, w in zip(x.shape, widths)])
    return np.pad(x, widths, constant_values=value)


def _matmul(node: Node, inputs: list) -> Array:
    a, b = inputs
    if a.ndim > 1 and b.ndim > 1:
        limit([*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]])
    return np.matmul(a, b)


def _where(node: Node, inputs: list) -> Array:
    limit(np.broadcast_shapes(*(a.shape for a in inputs)))
    return np.where(*inputs)


def _constant(node: Node, inputs: list) -> Array:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in node.attributes:
            value = np.asarray(node.attributes[name])
            return value.astype(np.float32) if name.startswith("value_f") else value
    raise Reason(f"a constant of kind {', '.join(node.attributes) or 'nothing'} is not read")


OTHERS: dict[str, Callable[[Node, list], Array | list[Array]]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "MatMul": _matmul,
    "Where": _where,
    "Cast": lambda node, inputs: cast(inputs[0], node.attributes["to"]),
    "Shape": lambda node, inputs: np.array(inputs[0].shape, np.int64),
    "Concat": lambda node, inputs: np.concatenate(inputs, axis=node.attributes["axis"]),
}


def _by_reference(node: Node, opset: int, inputs: list[Array | None]) -> list[Array]:
    from onnx.reference import ReferenceEvaluator

    names = [f"x{i}" if a is not None else "" for i, a in enumerate(inputs)]
    outputs = [f"y{i}" for i in range(len(node.outputs))]
    limit([sum(a.size for a in inputs if a is not None)])
    proto = helper.make_node(node.op_type, names, outputs, **node.attributes)
    graph = helper.make_graph(
        [proto],
        "constant",
        [helper.make_value_info(
            n, helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        )
         for n, a in zip(names, inputs) if n],
        [helper.make_value_info(o, helper.make_tensor_type_proto(1, None)) for o in outputs],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return ReferenceEvaluator(model).run(None, {n: a for n, a in zip(names, inputs) if n})
