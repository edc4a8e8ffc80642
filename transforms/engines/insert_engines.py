"""Puts the encoders of every engine into one node."""

from __future__ import annotations

import json
from collections.abc import Sequence

from onnx import NodeProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.custom_ops.engine.engine import rename_tensors
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.transforms.engines.bind import BEFORE_ENCODERS, Engine, EngineBinding, bind
from finn_vitprune.transforms.engines.same_drops import widen_scores
from finn_vitprune.transforms.engines.sign_pixels import sign_pixels
from finn_vitprune.transforms.streams.edges import position


class DealEncoders(Transformation):
    """:class:`InsertEngines` of a binding made of how encoders are dealt.

    Args:
        engines: their number, or the encoders of each (:func:`.bind`). frames: of each engine, in flight.
        shares: the partition, as :func:`.bind` has it.
    Raises:
        UserError: the encoders cannot be dealt so.
    """

    def __init__(self, engines: int | Sequence[int], frames: int = 1, shares: str = "") -> None:
        super().__init__()
        self.engines, self.frames, self.shares = engines, frames, shares

    def apply(self, model: ModelWrapper):
        return InsertEngines(bind(model, self.engines, self.shares), self.frames).apply(model)


class InsertEngines(Transformation):
    """A VitEngine_rtl node for each engine of several encoders; an engine of one encoder stays flat. Nodes get names anew, those
    that FINN would give them when it applies a folding file.

    Args:
        binding: of the graph that this is applied to, whose ops are specialised and between which nothing stands yet.
        frames_in_flight: of each engine.
    """

    def __init__(self, binding: EngineBinding, frames_in_flight: int = 1) -> None:
        super().__init__()
        self.binding, self.frames_in_flight = binding, frames_in_flight

    def apply(self, model: ModelWrapper):
        shared = [engine for engine in self.binding.engines if len(engine.encoders) > 1]
        for i, engine in enumerate(shared):
            units = [[unit] for unit in engine.units if unit.role not in engine.array]
            for together in (*units, [unit for unit in engine.units if unit.role in engine.array]):
                _widen(model, {name for unit in together for names in unit.nodes for name in names})
            widen_scores(model, {name for unit in engine.units for names in unit.nodes for name in names})
            self._insert(model, engine, f"VitEngine_rtl_{i}", sign_pixels(model, engine))
        return model.transform(GiveUniqueNodeNames()), False

    def _insert(self, model: ModelWrapper, engine: Engine, name: str, ahead: Sequence[str]) -> None:
        nodes = _between(model, {*ahead, *(n for unit in engine.units for names in unit.nodes for n in names)})
        inside = {node.name for node in nodes}
        written = {tensor for node in nodes for tensor in node.output}
        read = [t for node in nodes for t in node.input[: len(getCustomOp(node).in_streams())]]
        (source,) = dict.fromkeys(tensor for tensor in read if tensor not in written)
        outside = {t for node in model.graph.node if node.name not in inside for t in node.input} | {o.name for o in model.graph.output}
        (sink,) = [tensor for tensor in written if tensor in outside]
        first = getCustomOp(next(node for node in nodes if source in node.input)).in_streams()[0]
        last = getCustomOp(next(node for node in nodes if sink in node.output)).out_streams()[0]
        body = _graph(model, nodes, name, source, sink)
        more = {"patch_channels": first.channels, "patchDataType": first.dtype.name} if BEFORE_ENCODERS in engine.encoders else {}
        more |= {"array": list(engine.array)} if engine.array else {}
        node = make_node(
            "VitEngine_rtl", [source], [sink], name=name, tokens_in=first.tokens, tokens_out=last.tokens, channels=last.channels,
            SIMD=last.simd, inputDataType=last.dtype.name, encoders=list(engine.encoders), **more,
            roles=json.dumps([[unit.role, unit.nodes] for unit in engine.units]), frames_in_flight=self.frames_in_flight,
        )  # fmt: skip
        names = {tensor.name for tensor in body.initializer}
        rename_tensors(body, {constant: f"{name}/{constant}" for constant in names})  # others may take their names outside
        getCustomOp(node).set_graph("body", body)
        place = position(model, nodes[0])
        for old in nodes:
            model.graph.node.remove(old)
        model.graph.node.insert(place, node)
        kept = [t for t in model.graph.initializer if t.name not in names or any(t.name in n.input for n in model.graph.node)]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)


def _widen(model: ModelWrapper, names: set[str]) -> None:
    """Give the weights of these nodes the widest of their types: lowering takes the narrowest that holds the codes of each."""
    ops = [getCustomOp(node) for node in model.graph.node if node.name in names]
    ops = [op for op in ops if "weightDataType" in op.get_nodeattr_types()]
    widest = max((op.get_nodeattr("weightDataType") for op in ops), key=lambda kind: DataType[kind].bitwidth(), default="")
    for op in ops:
        op.set_nodeattr("weightDataType", widest)
        model.set_tensor_datatype(op.onnx_node.input[1], DataType[widest])


def _between(model: ModelWrapper, names: set[str]) -> list[NodeProto]:
    """The nodes with these names, and those that only stand between them (what the last encoder's QKV is divided by)."""
    order = list(model.graph.node)
    inside = {node.name for node in order if node.name in names}
    written = {t: node.name for node in order for t in node.output}
    readers: dict[str, list[str]] = {}
    for node in order:
        for tensor in node.input:
            readers.setdefault(tensor, []).append(node.name)
    grown = True
    while grown:
        grown = False
        for node in order:
            if node.name in inside:
                continue
            fed = any(written.get(t) in inside for t in node.input)
            if fed and any(r in inside for t in node.output for r in readers.get(t, ())):
                inside.add(node.name)
                grown = True
    return [node for node in order if node.name in inside]


def _graph(model: ModelWrapper, nodes: list[NodeProto], name: str, source: str, sink: str):
    """A graph of some nodes with what ``model`` knows of their tensors."""
    tensors = {t for node in nodes for t in (*node.input, *node.output)}
    info = {v.name: v for v in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    graph = helper.make_graph(
        nodes,
        name,
        [info[source]],
        [info[sink]],
        initializer=[t for t in model.graph.initializer if t.name in tensors],
        value_info=[info[t] for t in sorted(tensors) if t in info and t not in (source, sink)],
    )
    graph.quantization_annotation.extend(q for q in model.graph.quantization_annotation if q.tensor_name in tensors)
    return graph
