"""What the streams inside of an engine carry: for each encoder the tensors of the flat graph."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.engine import VitEngine, engines_of, layers
from finn_vitprune.custom_ops.engine.ports import EnginePort
from finn_vitprune.custom_ops.engine.switch import VitMerge, VitSwitch
from finn_vitprune.custom_ops.engine.times import in_order
from finn_vitprune.sim.beats import Stream
from finn_vitprune.transforms.engines.bind import SAME_UNIT
from finn_vitprune.transforms.engines.engine_units import DROP, SELECT, SPLIT, unit_name
from finn_vitprune.transforms.streams.node_names import kind_of


@dataclass(frozen=True)
class Carried:
    """A frame of a stream, ``[tokens, channels]``: ``tensors`` of :func:`specification`, their channels side by side."""

    tensors: tuple[str, ...]
    tokens: int
    channels: int

    @classmethod
    def of(cls, tensor: str, stream: Stream) -> Carried:
        return cls((tensor,), stream.tokens, stream.channels)

    def on(self, stream: Stream) -> Stream:
        """The stream with frames of this size."""
        return replace(stream, tokens=self.tokens, channels=self.channels)


def specification(model: ModelWrapper) -> ModelWrapper:
    """``model`` with the layers of its engines in their place, all streams inside of engines among its tensors.

    One thing in it is not a layer of the flat graph: where a last encoder makes queries for the class token alone, the QKV of its
    engine makes them for all tokens, and so does a second node of that layer.
    """
    whole = layers(model)
    for engine in engines_of(model):
        nodes = {node.name: node for node in whole.graph.node}
        for queries, keys_values in _divided(engine):
            node = copy.deepcopy(nodes[queries])
            op = getCustomOp(node)
            op.set_nodeattr("tokens", getCustomOp(nodes[keys_values]).get_nodeattr("tokens"))
            node.name += "_of_all_tokens"
            node.input[0] = nodes[keys_values].input[0]
            node.output[0] = _of_all_tokens(nodes[queries])
            whole.graph.node.append(node)
    return whole


def carried(engine: VitEngine) -> dict[str, list[Carried | None]]:
    """What the streams of :attr:`.VitEngine.hardware` carry by encoder, by tensor: None for one of which no frame passes.

    Tags are left out, and a stream of which it is not known.
    """
    return _Carried(engine).streams()


def joined(carries: Sequence[str], tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Frames ``[F, tokens, channels]`` of :attr:`Carried.tensors`."""
    return np.concatenate([tensors[name] for name in carries], axis=-1)


def _of_all_tokens(queries: NodeProto) -> str:
    return f"{queries.output[0]}_of_all_tokens"


def _bound(engine: VitEngine) -> dict[str, list[list[str]]]:
    """The nodes of a role in each encoder."""
    return dict(json.loads(engine.get_nodeattr("roles")))


def _divided(engine: VitEngine) -> Iterator[tuple[str, str]]:
    """The two nodes, Q and KV, that one unit works as."""
    nodes = {node.name: node for node in engine.flat.graph.node}
    for encoder in _bound(engine).get(SAME_UNIT["KV"], ()):
        if len(encoder) > 1:
            queries, keys = sorted(encoder, key=lambda name: getCustomOp(nodes[name]).get_nodeattr("MH"))
            yield queries, keys


class _Carried:
    def __init__(self, engine: VitEngine) -> None:
        self.engine, self.flat, self.hardware = engine, engine.flat, engine.hardware
        self.nodes = {node.name: node for node in self.flat.graph.node}
        self.bound = _bound(engine)
        self.role_of = {unit_name(engine, role): role for role in self.bound}
        self.divided = {frozenset(pair): pair for pair in _divided(engine)}
        ports = [node for node in self.hardware.graph.node if isinstance(getCustomOp(node), EnginePort)]
        self.entry, self.exit = sorted(ports, key=lambda node: node.op_type != "VitEngineEntry_rtl")
        self.between = [node for node in in_order(self.hardware) if node.name not in (self.entry.name, self.exit.name)]

    def streams(self) -> dict[str, list[Carried | None]]:
        encoders = len(self.engine.get_nodeattr("encoders"))
        entering = Carried.of(self.entry.input[0], self.engine.in_streams()[0])
        passes = []
        for encoder in range(encoders):
            passes.append(self._pass(encoder, entering))
            entering = passes[-1][self.exit.input[0]]
        out, turn = self.exit.output
        back = next(node for node in self.hardware.graph.node if node.input[0] == turn)
        for frames in passes[:-1]:
            frames |= dict.fromkeys((turn, *back.output), frames[self.exit.input[0]])
        passes[0][self.entry.input[0]] = passes[0][self.entry.output[0]]
        passes[-1][out] = passes[-1][self.exit.input[0]]
        return {tensor: [frames.get(tensor) for frames in passes] for tensor in {t: None for frames in passes for t in frames}}

    def _pass(self, encoder: int, entering: Carried) -> dict[str, Carried]:
        """A frame on its way through an encoder, by tensor; into encoder 0 through the FIFO at the entry."""
        to_engine, to_fifo, _ = self.entry.output
        at = {to_engine: entering} if encoder else {to_engine: entering, to_fifo: entering}
        for node in self.between:
            at |= self._outputs(node, encoder, at)
        return at

    def _outputs(self, node: NodeProto, encoder: int, at: dict[str, Carried]) -> dict[str, Carried]:
        """What a node gives in an encoder: nothing where it gets nothing, or where that is not known."""
        op, source = getCustomOp(node), at.get(node.input[0])
        if isinstance(op, VitMerge):
            source = at.get(node.input[op.branch(encoder)])
        if source is None:
            return {}
        if isinstance(op, VitSwitch):
            way = op.branch(encoder)
            return {} if way is None else {node.output[way]: source}
        if isinstance(op, VitMerge) or op.is_buffer or op.is_converter:
            return {node.output[0]: source}
        kind = kind_of(node)
        names = self.bound[self.role_of[node.name.rpartition("_")[0] if kind == DROP else node.name]][encoder]
        if len(names) > 1:
            return {node.output[0]: self._queries_keys_values(*self.divided[frozenset(names)])}
        if names:
            return dict(zip(node.output, self._layer(names[0])))
        if kind == SPLIT:
            parts = self.divided[frozenset(self.bound[SAME_UNIT["KV"]][encoder])]
            return {tensor: self._layer(name)[0] for tensor, name in zip(node.output, parts)}
        return {node.output[0]: source} if kind == SELECT else {}

    def _queries_keys_values(self, queries: str, keys_values: str) -> Carried:
        q, (kv,) = self.nodes[queries], self._layer(keys_values)
        return Carried((_of_all_tokens(q), *kv.tensors), kv.tokens, getCustomOp(q).get_nodeattr("MH") + kv.channels)

    def _layer(self, name: str) -> list[Carried]:
        node = self.nodes[name]
        return [Carried.of(tensor, stream) for tensor, stream in zip(node.output, getCustomOp(node).out_streams())]
