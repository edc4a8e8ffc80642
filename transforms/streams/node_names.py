"""What the nodes of a hardware graph are called: by encoder and layer, as the streams between them tell it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.transforms.streams.edges import StreamEdge, slr_of, stream_edges

LINK = "registers"
"""What a crossing is called that is in one SLR."""
BETWEEN = {"VitFIFO": "FIFO", "VitWidthConverter": "width converter", "VitCrossing": "SLR crossing", "VitSelectToken": "token selection"}
"""Words for ops that stand between units, by op type. They are called by the unit that they feed."""
UNITS = {
    "BlockSparseMVAU": "matrix unit", "PrunedAttention": "attention", "VitLayerNorm": "LayerNorm", "VitLookup": "activation",
    "VitRequant": "requantisation", "VitTokenEmbed": "token embedding", "VitTokenMean": "mean of tokens",
    "VitRotary": "rotation",
}  # fmt: skip
"""Words for ops that are not called by their op type in words."""
INITIAL_NORM, FINAL_NORM = (tuple(f"{place} {kind}" for kind in ("LayerNorm", "RMSNorm")) for place in ("initial", "final"))
"""What norms outside the encoders may be called."""
POOLING = "pooling"
"""First word of the layers of attention pooling."""
INPUTS = {("PrunedAttention", 0): "Q", ("PrunedAttention", 1): "KV", ("VitTokenDrop", 1): "score"}
"""Words for inputs of an op that has several."""


@dataclass(frozen=True)
class NodeName:
    """``encoder`` is its number from 1, None outside the encoders; ``layer`` is what the node is there."""

    encoder: int | None
    layer: str

    def __str__(self) -> str:
        return self.layer if self.encoder is None else f"encoder {self.encoder}, {self.layer}"


def node_names(model: ModelWrapper) -> dict[str, NodeName]:
    """A name for every node of a hardware graph, by node name; no two are equal.

    A residual block ends in an add. One with attention begins an encoder, and one without, the MLP, ends it; an encoder may
    lack either. What comes before the first block and after the last is in no encoder, and neither is attention pooling: its block
    has attention, and the residual begins behind that. FIFOs, converters, crossings and token selections are called by what they feed.

    Args:
        model: the graph, in topological order, lowered or with everything that is inserted between its units.
    """
    named = _Naming(model).names()
    seen: Counter[NodeName] = Counter()
    result = {}
    for node, name in named:
        seen[name] += 1
        result[node.name] = replace(name, layer=f"{name.layer} {seen[name]}") if seen[name] > 1 else name
    return result


def kind_of(node: NodeProto) -> str:
    """The op type, whether specialised or not."""
    return node.op_type.removesuffix("_rtl")


def word_of(kind: str) -> str:
    """What a unit of an op type is called: "token drop" of VitTokenDrop."""
    words = re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", kind.removeprefix("Vit"))
    return UNITS.get(kind, " ".join(w if w.isupper() and len(w) > 1 else w.lower() for w in words))


def _norm(node: NodeProto) -> str:
    """What a VitLayerNorm is called."""
    return word_of(kind_of(node)) if getCustomOp(node).centred else "RMSNorm"


@dataclass(frozen=True)
class _Block:
    """A residual block: the encoder it is in, and its nodes in order (``fork`` divides it), the last one its add.

    encoder: None of attention pooling.
    """

    encoder: int | None
    nodes: tuple[NodeProto, ...]

    @property
    def ahead(self) -> tuple[NodeProto, ...]:
        """The nodes before the attention, and that itself: none where there is no attention."""
        last = next((i for i, n in enumerate(self.nodes) if kind_of(n) == "PrunedAttention"), -1)
        return self.nodes[: last + 1]

    @property
    def pools(self) -> bool:
        """Whether it is attention pooling: the residual begins behind the attention."""
        return self.attends and any(kind_of(n) == "VitFork" for n in self.nodes[len(self.ahead) :])

    @property
    def attends(self) -> bool:
        return any(kind_of(n) == "PrunedAttention" for n in self.nodes)

    @property
    def layer(self) -> str:
        return "attention" if self.attends else "MLP"

    @property
    def fork(self) -> str:
        """Name of the node that divides the stream."""
        nodes = self.nodes[len(self.ahead) :] if self.pools else self.nodes
        return next((n.name for n in nodes if kind_of(n) == "VitFork"), "")

    @property
    def start(self) -> str:
        """Name of the first node, which reads what leaves the block before: the LayerNorm before the attention where it pools."""
        return self.norms[-1] if self.pools and self.norms else self.fork

    @property
    def norms(self) -> list[str]:
        """Names of the LayerNorms before the attention: the encoder's, then of queries and keys if they have some."""
        return [n.name for n in self.ahead if kind_of(n) == "VitLayerNorm"]

    @property
    def matrices(self) -> list[str]:
        """Names of the matrix units."""
        return [n.name for n in self.nodes if kind_of(n) == "BlockSparseMVAU"]


class _Naming:
    def __init__(self, model: ModelWrapper) -> None:
        self.nodes = list(model.graph.node)
        self.after: dict[str, list[StreamEdge]] = {n.name: [] for n in self.nodes}
        self.before: dict[str, list[StreamEdge]] = {n.name: [] for n in self.nodes}
        for edge in stream_edges(model):
            self.after[edge.producer.name].append(edge)
            self.before[edge.consumer.name].append(edge)
        blocks = list(self._blocks())
        self.ahead = self._ancestors(blocks[0].start) if blocks else set()
        self.blocks = [replace(block, nodes=tuple(n for n in block.nodes if n.name not in self.ahead)) for block in blocks]
        self.block_of = {n.name: block for block in self.blocks for n in block.nodes}

    def names(self) -> Iterator[tuple[NodeProto, NodeName]]:
        for node in self.nodes:
            yield node, self.name(node)

    def _blocks(self) -> Iterator[_Block]:
        """Every node belongs to the block of the first add after it."""
        place = {n.name: i for i, n in enumerate(self.nodes)}
        ends: dict[str, int] = {}
        for node in reversed(self.nodes):
            found = [
                place[e.consumer.name] if kind_of(e.consumer) == "VitAdd" else ends.get(e.consumer.name) for e in self.after[node.name]
            ]
            if known := [end for end in found if end is not None]:
                ends[node.name] = min(known)
        encoder, whole = 0, True
        for i, add in enumerate(self.nodes):
            if kind_of(add) == "VitAdd":
                block = _Block(None, (*(n for n in self.nodes if ends.get(n.name) == i and kind_of(n) != "VitAdd"), add))
                if block.pools:
                    yield block
                    continue
                encoder += block.attends or whole
                whole = not block.attends
                yield replace(block, encoder=encoder)

    def _ancestors(self, name: str) -> set[str]:
        found, waiting = set(), [name]
        while waiting:
            for edge in self.before.get(waiting.pop(), ()):
                if edge.producer.name not in found:
                    found.add(edge.producer.name)
                    waiting.append(edge.producer.name)
        return found

    def name(self, node: NodeProto) -> NodeName:
        kind = kind_of(node)
        if node.doc_string:  # a unit of an engine says what it is
            return NodeName(None, node.doc_string)
        if kind in BETWEEN:
            return self._between(node, LINK if kind == "VitCrossing" and self._in_one(node) else BETWEEN[kind])
        if node.name in self.ahead:
            return NodeName(None, self._first(node, kind))
        if (block := self.block_of.get(node.name)) is None:
            return NodeName(None, self._last(node, kind))
        if block.pools:
            return NodeName(None, self._pooling(block, node, kind))
        return NodeName(block.encoder, self._layer(block, node, kind))

    def _in_one(self, node: NodeProto) -> bool:
        """Whether a crossing begins and ends in one SLR, or in none."""
        ends = [*(edge.producer for edge in self.before[node.name]), *(edge.consumer for edge in self.after[node.name])]
        return len(ends) == 2 and len(set(map(slr_of, ends))) == 1

    def _first(self, node: NodeProto, kind: str) -> str:
        """Of a node before the first block."""
        if kind == "BlockSparseMVAU":
            scales = any(kind_of(self._unit_before(edge)) == "VitLayerNorm" for edge in self.before[node.name])
            return "initial scale" if scales else "patch embedding"
        return f"initial {_norm(node)}" if kind == "VitLayerNorm" else word_of(kind)

    def _last(self, node: NodeProto, kind: str) -> str:
        """Of a node after the last block."""
        if not self.blocks:
            return word_of(kind)
        return "classifier" if kind == "BlockSparseMVAU" else f"final {_norm(node)}" if kind == "VitLayerNorm" else word_of(kind)

    def _pooling(self, block: _Block, node: NodeProto, kind: str) -> str:
        """Of a unit of attention pooling; the LayerNorm before the attention is the last one of the encoders' tokens."""
        if kind == "BlockSparseMVAU":
            word = self._fed(block, node)
            if word == "projection":
                place = [n.name for n in block.nodes[len(block.ahead) :] if kind_of(n) == kind].index(node.name)
                word = f"MLP {place}" if place else word
        elif kind == "VitLayerNorm":
            word = _norm(node)
            if node.name == block.start:
                return f"final {word}"
        elif kind == "VitFork":
            word = "residual fork" if node.name == block.fork else "KV fork"
        else:
            word = word_of(kind)
        return f"{POOLING} {word}"

    def _layer(self, block: _Block, node: NodeProto, kind: str) -> str:
        """Of a unit in a block."""
        if kind == "BlockSparseMVAU":
            return self._matrix(block, node)
        if kind == "VitLayerNorm":
            if block.attends and node.name not in block.norms[:1]:
                return f"{'K' if kind_of(self._feeds(node).consumer) == 'PrunedAttention' else 'Q'} {_norm(node)}"
            return f"{_norm(node)} {1 if block.attends else 2}"
        if kind == "VitAdd" or node.name == block.fork:
            return f"{block.layer} {word_of(kind)}"
        if kind == "VitRotary":
            return f"{'Q' if self._feeds(node).input == 0 else 'K'} {word_of(kind)}"
        if kind in ("VitFork", "VitSplit") and self.before[node.name]:
            return f"{self.name(self._unit_before(self.before[node.name][0])).layer} {word_of(kind)}"
        return f"{block.layer} {word_of(kind)}" if kind in ("VitLookup", "VitGate", "VitRequant") else word_of(kind)

    def _feeds(self, node: NodeProto) -> StreamEdge:
        """The stream into the unit that reads this one's."""
        edge = self.after[node.name][0]
        while kind_of(edge.consumer) in BETWEEN:
            edge = self.after[edge.consumer.name][0]
        return edge

    def _matrix(self, block: _Block, node: NodeProto) -> str:
        if not block.attends:
            place = block.matrices.index(node.name) + 1
            return f"MLP {place}" if len(block.matrices) > 1 else "MLP"
        if any(self._unit_before(edge).name in block.norms[1:] for edge in self.before[node.name]):
            return "Q scale"
        return self._fed(block, node)

    def _fed(self, block: _Block, node: NodeProto) -> str:
        """Of a matrix unit beside attention, by what it feeds."""
        fed = {e.input for n in block.nodes if kind_of(n) == "PrunedAttention" for e in self.before[n.name]
               if node.name in self._ancestors(e.producer.name) | {e.producer.name}}  # fmt: skip
        return {(): "projection", (0,): "Q", (1,): "KV"}.get(tuple(sorted(fed)), "QKV")

    def _between(self, node: NodeProto, word: str) -> NodeName:
        """By the unit that ``node`` feeds, else by the one that feeds it."""
        edges = self.after[node.name]
        while edges and kind_of(edges[0].consumer) in BETWEEN:
            edges = self.after[edges[0].consumer.name]
        if not edges:
            source = self.before[node.name]
            unit = self._unit_before(source[0]) if source else node
            return NodeName(None, word) if kind_of(unit) in BETWEEN else self._extended(unit, f"output {word}")
        edge = edges[0]
        kind = kind_of(edge.consumer)
        if kind == "VitAdd" and self._unit_before(edge).name == self.block_of[edge.consumer.name].fork:
            block = self.block_of[edge.consumer.name]
            return NodeName(block.encoder, f"{POOLING if block.pools else block.layer} residual {word}")
        return self._extended(edge.consumer, f"{INPUTS.get((kind, edge.input), 'input')} {word}")

    def _unit_before(self, edge: StreamEdge) -> NodeProto:
        """The unit at the other end of a stream."""
        while kind_of(edge.producer) in BETWEEN and self.before[edge.producer.name]:
            edge = self.before[edge.producer.name][0]
        return edge.producer

    def _extended(self, unit: NodeProto, text: str) -> NodeName:
        name = self.name(unit)
        return replace(name, layer=f"{name.layer} {text}")
