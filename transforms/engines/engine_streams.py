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
from finn_vitprune.custom_ops.engine.ports import VitEngineExit
from finn_vitprune.custom_ops.engine.switch import VitMerge, VitSwitch, VitTagFork
from finn_vitprune.custom_ops.engine.times import in_order
from finn_vitprune.sim.beats import Stream
from finn_vitprune.transforms.engines.bind import BEFORE_ENCODERS, SAME_UNIT
from finn_vitprune.transforms.engines.engine_units import DROP, PASSES, SPLIT, unit_name
from finn_vitprune.transforms.streams.node_names import kind_of

SIGNS = "VitLookup"
"""The table in the flat graph that makes signed codes of patches (:mod:`.sign_pixels`)."""


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


def tags_of(engine: VitEngine) -> dict[str, list[int]]:
    """The tags on each stream of tags in an engine, by tensor: units that are not in the pass before the encoders never see its."""
    found: dict[str, list[int]] = {}
    for node in engine.structure.graph.node:
        op = getCustomOp(node)
        came, left = op.tag_ports()
        tags = list(node.output[len(op.out_streams()) - left :]) if left else []
        if isinstance(op, VitTagFork):
            whole = found[node.input[0]]
            found |= {node.output[0]: whole, node.output[1]: [tag for tag in whole if tag != op.get_nodeattr("left_out")]}
        elif tags:
            source = found[node.input[len(op.in_streams()) - 1]] if came else list(range(len(engine.get_nodeattr("encoders"))))
            found[tags[0]] = source
    return found


def entry_order(encoders: Sequence[int]) -> list[int]:
    """The passes of an image by their tags, in the order in which it enters them: a pass before encoder 1 has the last tag.

    Args:
        encoders: of the engine, from 1.
    """
    tags = list(range(len(encoders)))
    return [tags[-1], *tags[:-1]] if encoders[-1] == BEFORE_ENCODERS else tags


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
        self.order = in_order(self.hardware)
        self.entry = next(node for node in self.order if node.op_type == "VitEngineEntry_rtl")

    def streams(self) -> dict[str, list[Carried | None]]:
        encoders = self.engine.get_nodeattr("encoders")
        entering = Carried.of(self.entry.input[0], self.engine.in_streams()[0])
        back = next(node for node in self.hardware.graph.node if self.entry.input[1] in node.output)
        passes: dict[int, dict[str, Carried]] = {}
        for encoder in entry_order(encoders):
            passes[encoder] = self._pass(encoder, entering, first=not passes)
            if returned := passes[encoder].get(back.input[0]):
                entering = passes[encoder][back.output[0]] = returned
        return {t: [passes[e].get(t) for e in range(len(encoders))] for t in {t: None for frames in passes.values() for t in frames}}

    def _pass(self, encoder: int, entering: Carried, first: bool) -> dict[str, Carried]:
        """A frame on its way through an encoder, by tensor; the first through the FIFO at the entry."""
        to_engine, to_fifo, *others = self.entry.output
        at = {to_engine: entering}
        if first and self.engine.embeds:
            at = {others[0]: self._signed(entering)}
        if first:
            at |= dict.fromkeys((self.entry.input[0], to_fifo), entering)
        for node in self.order:
            if node.name != self.entry.name:
                at |= self._outputs(node, encoder, at)
        return at

    def _signed(self, patches: Carried) -> Carried:
        """Patches as they leave the entry: what a table in the flat graph makes of them, where they are not signed anyway."""
        table = next((node for node in self.flat.graph.node if kind_of(node) == SIGNS and node.input[0] == self.entry.input[0]), None)
        return patches if table is None else self._layer(table.name)[0]

    def _outputs(self, node: NodeProto, encoder: int, at: dict[str, Carried]) -> dict[str, Carried]:
        """What a node gives in an encoder: nothing where it gets nothing, or where that is not known."""
        op, source = getCustomOp(node), at.get(node.input[0])
        if isinstance(op, VitMerge):
            way = op.branch(encoder)
            source = None if way is None else at.get(node.input[way])
        if source is None:
            return {}
        if isinstance(op, VitEngineExit):
            return {node.output[op.way(encoder)]: source}
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
        return {node.output[0]: source} if kind in PASSES else {}

    def _queries_keys_values(self, queries: str, keys_values: str) -> Carried:
        q, (kv,) = self.nodes[queries], self._layer(keys_values)
        return Carried((_of_all_tokens(q), *kv.tensors), kv.tokens, getCustomOp(q).get_nodeattr("MH") + kv.channels)

    def _layer(self, name: str) -> list[Carried]:
        node = self.nodes[name]
        return [Carried.of(tensor, stream) for tensor, stream in zip(node.output, getCustomOp(node).out_streams())]
