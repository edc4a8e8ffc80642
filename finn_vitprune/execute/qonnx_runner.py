"""Runs a QONNX model on many images quickly, with every wanted tensor at hand.

qonnx executes node by node and builds an onnxruntime session for each. Here ``Quant`` becomes Div, Clip,
Round, Mul (the same float32 steps), and the graph is cut only at ``TokenDrop`` nodes, which run in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import groupby

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.numerics import int_range

Stage = Callable[[dict[str, np.ndarray]], None]
"""Adds what it makes to the tensors that it is given, by name."""


class QonnxRunner:
    """Executes a QONNX model with batch size 1, image after image."""

    def __init__(self, model: ModelWrapper, tensors: list[str] = ()) -> None:
        """Prepare the sessions.

        Args:
            model: the QONNX model, shapes annotated.
            tensors: names of the intermediate tensors to return besides the output.
        """
        self.input = model.graph.input[0].name
        self.output = model.graph.output[0].name
        self.tensors = list(dict.fromkeys([*tensors, self.output]))
        self.stages = _stages(model, self.tensors)

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Wanted tensors for ``images`` ``[F, ...]`` (uint8 values), stacked over the frames.

        Returns:
            float32 arrays ``[F, *tensor shape without the batch axis]``.
        """
        frames = []
        for image in images:
            values = {self.input: image[None].astype(np.float32)}
            for stage in self.stages:
                stage(values)
            frames.append([values[t] for t in self.tensors])
        return {t: np.concatenate([f[i] for f in frames]) for i, t in enumerate(self.tensors)}


def _stages(model: ModelWrapper, wanted: list[str]) -> list[Stage]:
    graph = model.graph
    segments = [(drops, list(nodes)) for drops, nodes in groupby(graph.node, lambda n: n.op_type == "TokenDrop")]
    available, stages = {graph.input[0].name}, []
    for number, (drops, nodes) in enumerate(segments):
        made = {o for n in nodes for o in n.output}
        if drops:
            stages += [partial(getCustomOp(n).execute_node, graph=None) for n in nodes]
        else:
            later = {i for _, s in segments[number + 1 :] for n in s for i in n.input}
            reads = {i for n in nodes for i in n.input}
            stages.append(_session(model, nodes, sorted(available & reads), sorted(made & (later | set(wanted)))))
        available |= made
    return stages


def _session(model: ModelWrapper, nodes: list[NodeProto], inputs: list[str], outputs: list[str]) -> Stage:
    initialisers = {i.name: i for i in model.graph.initializer}
    expanded = [e for n in nodes for e in (_expand_quant(model, n, initialisers) if n.op_type == "Quant" else [n])]
    used = {i for n in expanded for i in n.input}
    graph = helper.make_graph(
        expanded, "segment",
        [helper.make_tensor_value_info(n, _element_type(model, n), None) for n in inputs],
        [helper.make_tensor_value_info(n, _element_type(model, n), None) for n in outputs],
        [t for name, t in initialisers.items() if name in used],
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
    return next((i.type.tensor_type.elem_type for i in infos if i.name == name), TensorProto.FLOAT)


def _expand_quant(model: ModelWrapper, node: NodeProto, initialisers: dict) -> list[NodeProto]:
    op = getCustomOp(node)
    x, scale, _, bits = node.input
    signed = bool(op.get_nodeattr("signed"))
    lo, hi = int_range(int(model.get_initializer(bits)), signed)
    lo += int(signed and bool(op.get_nodeattr("narrow")))
    stem = node.output[0]
    for suffix, value in (("lo", lo), ("hi", hi)):
        name = f"{stem}/{suffix}"
        initialisers[name] = numpy_helper.from_array(np.array(value, np.float32), name)
    return [
        helper.make_node("Div", [x, scale], [f"{stem}/scaled"]),
        helper.make_node("Clip", [f"{stem}/scaled", f"{stem}/lo", f"{stem}/hi"], [f"{stem}/clipped"]),
        helper.make_node("Round", [f"{stem}/clipped"], [f"{stem}/codes"]),
        helper.make_node("Mul", [f"{stem}/codes", scale], [stem]),
    ]
