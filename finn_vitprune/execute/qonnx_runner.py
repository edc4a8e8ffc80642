"""Runs a QONNX model on many images quickly, with every wanted tensor at hand.

qonnx executes node by node, in float32, and builds an onnxruntime session for each. Here all is computed in
float64, so that the order of a sum does not decide how a value is rounded; ``Quant`` becomes Div, Clip, Round,
Mul, and the graph is cut only at ``TokenDrop`` nodes, which run in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.graph.functions import UNARY
from finn_vitprune.numerics import int_range

Stage = Callable[[dict[str, np.ndarray]], None]
"""Adds what it makes to the tensors that it is given, by name."""

FLOAT32_ONLY = UNARY.keys() - set("Neg Abs Exp Log Sqrt Reciprocal Tanh Sigmoid Relu".split())
"""Functions that onnxruntime has in float32 only; their error is below 1e-4 of an 8-bit code."""


def before_rounding(quantised: str) -> str:
    """Name of the input of a ``Quant`` over its scale, not clipped, without zero point, where ``quantised`` is its output."""
    return f"{quantised}/scaled"


class QonnxRunner:
    """Executes a QONNX model with batch size 1, image after image."""

    def __init__(self, model: ModelWrapper, tensors: Sequence[str] = ()) -> None:
        """Prepare the sessions.

        Args:
            model: the QONNX model, shapes annotated.
            tensors: names of the intermediate tensors to return besides the output, :func:`before_rounding` too.
        """
        self.input = model.graph.input[0].name
        self.output = model.graph.output[0].name
        self.tensors = list(dict.fromkeys([*tensors, self.output]))
        self.stages = _stages(model, self.tensors)

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Wanted tensors for ``images`` ``[F, ...]`` (uint8 values), stacked over the frames.

        Returns:
            float64 arrays ``[F, *tensor shape without the batch axis]``.
        """
        frames = []
        for image in images:
            values = {self.input: image[None].astype(np.float64)}
            for stage in self.stages:
                stage(values)
            frames.append([values[t] for t in self.tensors])
        return {t: np.concatenate([f[i] for f in frames]) for i, t in enumerate(self.tensors)}


def _stages(model: ModelWrapper, wanted: list[str]) -> list[Stage]:
    graph = model.graph
    segments = [(drops, list(nodes)) for drops, nodes in groupby(graph.node, lambda n: n.op_type == "TokenDrop")]
    available = {graph.input[0].name}
    stages: list[Stage] = []
    for number, (drops, nodes) in enumerate(segments):
        if drops:
            stages += [partial(getCustomOp(n).execute_node, graph=None) for n in nodes]
            made = {o for n in nodes for o in n.output}
        else:
            initialisers = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
            expanded = [e for n in nodes for e in _expanded(model, n, initialisers)]
            made = {o for n in expanded for o in n.output}
            later = {i for _, s in segments[number + 1 :] for n in s for i in n.input}
            reads = {i for n in expanded for i in n.input}
            outputs = sorted(made & (later | set(wanted)))
            stages.append(_session(model, expanded, initialisers, sorted(available & reads), outputs))
        available |= made
    return stages


def _session(
    model: ModelWrapper, nodes: list[NodeProto], initialisers: dict[str, np.ndarray], inputs: list[str], outputs: list[str]
) -> Stage:
    used = {i for n in nodes for i in n.input}
    graph = helper.make_graph(
        nodes,
        "segment",
        [helper.make_tensor_value_info(n, _element_type(model, n), None) for n in inputs],
        [helper.make_tensor_value_info(n, _element_type(model, n), None) for n in outputs],
        [numpy_helper.from_array(widened(a), name) for name, a in initialisers.items() if name in used],
    )
    opset = next(o.version for o in model.model.opset_import if o.domain in ("", "ai.onnx"))
    proto: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", max(opset, 13))])
    proto.ir_version = min(proto.ir_version, 10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def stage(values: dict[str, np.ndarray]) -> None:
        values.update(zip(outputs, session.run(outputs, {name: values[name] for name in inputs})))

    return stage


def _element_type(model: ModelWrapper, name: str) -> int:
    infos = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    found = next((i.type.tensor_type.elem_type for i in infos if i.name == name), TensorProto.FLOAT)
    return TensorProto.DOUBLE if found == TensorProto.FLOAT else found


def _expanded(model: ModelWrapper, node: NodeProto, initialisers: dict[str, np.ndarray]) -> list[NodeProto]:
    return _expand_quant(model, node, initialisers) if node.op_type == "Quant" else in_double(node)


def _expand_quant(model: ModelWrapper, node: NodeProto, initialisers: dict[str, np.ndarray]) -> list[NodeProto]:
    op = getCustomOp(node)
    x, scale, zero, bits = node.input
    signed = bool(op.get_nodeattr("signed"))
    lo, hi = int_range(int(model.get_initializer(bits)), signed)
    lo += int(signed and bool(op.get_nodeattr("narrow")))
    stem = node.output[0]
    initialisers |= {f"{stem}/lo": np.asarray(lo, np.float64), f"{stem}/hi": np.asarray(hi, np.float64)}
    scaled = before_rounding(stem)
    moved, codes = (f"{stem}/moved", f"{stem}/from zero") if np.any(initialisers[zero]) else (scaled, f"{stem}/codes")
    nodes = [
        helper.make_node("Div", [x, scale], [scaled]),
        helper.make_node("Clip", [moved, f"{stem}/lo", f"{stem}/hi"], [f"{stem}/clipped"]),
        helper.make_node("Round", [f"{stem}/clipped"], [f"{stem}/codes"]),
        helper.make_node("Mul", [codes, scale], [stem]),
    ]
    if moved != scaled:
        nodes.insert(1, helper.make_node("Add", [scaled, zero], [moved]))
        nodes.insert(4, helper.make_node("Sub", [f"{stem}/codes", zero], [codes]))
    return nodes


def widened(array: np.ndarray) -> np.ndarray:
    """A constant for a graph in float64."""
    return array.astype(np.float64) if array.dtype == np.float32 else array


def in_double(node: NodeProto) -> list[NodeProto]:
    """The node in float64, between casts where onnxruntime has it in float32 only."""
    copy = NodeProto()
    copy.CopyFrom(node)
    if node.op_type in FLOAT32_ONLY:
        copy.input[0], copy.output[0] = f"{node.output[0]}/narrow", f"{node.output[0]}/float"
        return [
            helper.make_node("Cast", [node.input[0]], [copy.input[0]], to=TensorProto.FLOAT),
            copy,
            helper.make_node("Cast", [copy.output[0]], [node.output[0]], to=TensorProto.DOUBLE),
        ]
    for attribute in copy.attribute:
        if (node.op_type, attribute.name, attribute.i) == ("Cast", "to", TensorProto.FLOAT):
            attribute.i = TensorProto.DOUBLE
        elif attribute.type == attribute.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(numpy_helper.from_array(widened(numpy_helper.to_array(attribute.t))))
    return [copy]
