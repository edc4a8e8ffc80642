"""What ONNX itself tells of a node: the shapes of its outputs, and their values where all inputs are constants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, TypeProto, defs, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from finn_vitprune.graph.node import Node, Reason, first_line

SMALL = 64
"""Constants of so many numbers are given to shape inference."""
POSITIVE = frozenset("strides kernel_shape dilations group blocksize block_size num_outputs".split())
"""Attributes that ONNX's shape inference divides by, and ends the process where one is zero."""


def as_proto(node: Node) -> NodeProto:
    """The node as ONNX has it."""
    tensors = {k: numpy_helper.from_array(v) for k, v in node.attributes.items() if isinstance(v, np.ndarray)}
    return helper.make_node(node.op_type, node.inputs, node.outputs, **{**node.attributes, **tensors})


def output_shapes(node: Node, opset: int, inputs: Sequence[np.ndarray | tuple[int, ...] | None]) -> list[tuple[int, ...] | None]:
    """Shapes of the outputs; None where ONNX does not tell, or the node is damaged.

    Args:
        inputs: a constant, or the shape of a computed tensor (its type does not matter), or None where left out.
    """
    unknown: list[tuple[int, ...] | None] = [None] * len(node.outputs)
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
    dims = made.tensor_type.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None


MAX_ELEMENTS = 1 << 25
"""Largest tensor that is made while reading a model; 4,096 tokens of width 1,024 are 2**22."""

MAX_HELD = 1 << 29
"""Bytes of results that are held at a time, what the file itself holds left out."""


def limit(shape) -> None:
    """Reject a tensor of more than :data:`MAX_ELEMENTS`."""
    if math.prod(max(int(d), 0) for d in shape) > MAX_ELEMENTS:
        raise Reason(f"its result of shape {[int(d) for d in shape]} has more than {MAX_ELEMENTS:,} elements")


OLD_IR = 8
"""A version of ONNX's file format that every onnxruntime reads."""

FOLDED = frozenset(
    "Abs Neg Exp Log Sqrt Reciprocal Erf Tanh Sigmoid Relu LeakyRelu Elu HardSigmoid HardSwish Softplus Mish Swish "
    "Sin Cos Floor Ceil Round Sign Not Add Sub Mul Div Pow Min Max Mod Equal Less LessOrEqual Greater "
    "GreaterOrEqual And Or Xor Where Clip Constant ConstantOfShape Range Expand Tile Pad Concat MatMul Trilu CumSum "
    "Softmax LogSoftmax LayerNormalization ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ArgMax ArgMin TopK "
    "ScatterND ScatterElements GatherND GatherElements NonZero IsNaN IsInf Size "
    "QuantizeLinear DequantizeLinear".split()
)
"""Ops that onnx's own reference implementation computes in reasonable time."""
BY_RUNTIME = frozenset(["Resize"])
"""Ops for which that takes minutes, as positions of 37 x 37 patches for another image size: onnxruntime computes them."""


def evaluate(node: Node, opset: int, inputs: list[np.ndarray | None]) -> list[np.ndarray]:
    """Outputs of a node whose inputs are all constants.

    Not by onnxscript's fold_constants: it computes a result before it looks at its size (an Expand to 30,000 x 30,000
    takes 7 GB), and rewrites the graph, while every node here has an answer of its own.

    Raises:
        Reason: the op is not known here, or its result is too large.
        ValueError: the inputs do not fit.
    """
    op = node.op_type
    if op == "Constant" and "value" in node.attributes:
        return [node.attributes["value"]]
    if op != "Cast" and op not in FOLDED | BY_RUNTIME:
        raise Reason(f"{op} of constants is not computed here", "fold constants before, with onnxsim or onnxruntime")
    if op != "Constant" and not any(node.inputs):
        raise Reason(f"{op} has no inputs", "the file is damaged or was edited: export it again")
    given = {name: np.asarray(a) for name, a in zip(node.inputs, inputs) if a is not None}
    if op == "Cast":
        return [cast(given[node.inputs[0]], node.attributes["to"])]
    for shape in output_shapes(node, opset, [given.get(name) for name in node.inputs]):
        limit([sum(a.size for a in given.values())] if shape is None else shape)
    try:
        outputs = (
            _by_runtime(node, opset, given) if op in BY_RUNTIME else ReferenceEvaluator(as_proto(node), opsets={"": opset}).run(None, given)
        )
    except Exception as e:  # of many types, in onnx and in NumPy
        raise ValueError(first_line(e)) from e
    assert isinstance(outputs, list)  # asked for by no name
    return outputs


def _by_runtime(node: Node, opset: int, given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of a node by onnxruntime; ``given``: its inputs by name."""
    import onnxruntime as ort

    graph = helper.make_graph(
        [as_proto(node)], "node", [helper.make_value_info(name, _type(helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)) for name, a in given.items()],
        [helper.make_empty_tensor_value_info(name) for name in node.outputs if name],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=OLD_IR)
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, dict(given))


def cast(array: np.ndarray, to: int) -> np.ndarray:
    """``Cast``; all half-precision kinds are float32 here."""
    target = np.dtype(helper.tensor_dtype_to_np_dtype(to))
    if target.kind not in "biufO":  # kinds of ml_dtypes
        target = np.dtype(np.float32)
    return array.astype(np.float32 if target == np.float16 else target)
