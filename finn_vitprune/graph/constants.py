"""Computes what depends on constants alone: shape arithmetic, masks, folded embeddings."""

from __future__ import annotations

import numpy as np
from onnx import helper
from onnx.reference import ReferenceEvaluator

from finn_vitprune.graph.node import Node
from finn_vitprune.graph.reason import Reason, first_line
from finn_vitprune.graph.shapes import as_proto, output_shapes

MAX_ELEMENTS = 1 << 25
"""Largest tensor that is made while reading a model; 4,096 tokens of width 1,024 are 2**22."""

MAX_HELD = 1 << 29
"""Bytes of results that are held at a time, what the file itself holds left out."""


def limit(shape) -> None:
    """Reject a tensor of more than :data:`MAX_ELEMENTS`."""
    elements = 1
    for d in shape:
        elements *= max(int(d), 0)
    if elements > MAX_ELEMENTS:
        raise Reason(f"its result of shape {[int(d) for d in shape]} has more than {MAX_ELEMENTS:,} elements")


FOLDED = frozenset(
    "Abs Neg Exp Log Sqrt Reciprocal Erf Tanh Sigmoid Relu LeakyRelu Elu HardSigmoid HardSwish Softplus Mish Swish "
    "Sin Cos Floor Ceil Round Sign Not Add Sub Mul Div Pow Min Max Mod Equal Less LessOrEqual Greater "
    "GreaterOrEqual And Or Xor Where Clip Constant ConstantOfShape Range Expand Tile Pad Concat MatMul Trilu CumSum "
    "Softmax LogSoftmax LayerNormalization ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ArgMax ArgMin TopK "
    "ScatterND ScatterElements GatherND GatherElements NonZero IsNaN IsInf Size "
    "QuantizeLinear DequantizeLinear".split()
)
"""Ops that onnx's own reference implementation computes in reasonable time."""


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
    if op == "Cast":
        return [cast(inputs[0], node.attributes["to"])]
    if op not in FOLDED:
        raise Reason(f"{op} of constants is not computed here", "fold constants before, with onnxsim or onnxruntime")
    if op != "Constant" and not any(node.inputs):
        raise Reason(f"{op} has no inputs", "the file is damaged or was edited: export it again")
    given = {name: np.asarray(a) for name, a in zip(node.inputs, inputs) if a is not None}
    for shape in output_shapes(node, opset, [given.get(name) for name in node.inputs]):
        limit([sum(a.size for a in given.values())] if shape is None else shape)
    try:
        return ReferenceEvaluator(as_proto(node), opsets={"": opset}).run(None, given)
    except Exception as e:  # of many types, in onnx and in NumPy
        raise ValueError(first_line(e)) from e


def cast(array: np.ndarray, to: int) -> np.ndarray:
    """``Cast``; all half-precision kinds are float32 here."""
    target = np.dtype(helper.tensor_dtype_to_np_dtype(to))
    if target.kind not in "biufO":  # kinds of ml_dtypes
        target = np.dtype(np.float32)
    return array.astype(np.float32 if target == np.float16 else target)
