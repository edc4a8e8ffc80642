"""Networks that drop tokens in other encoders, made alike: so that one design can be loaded with each of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from onnx import NodeProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation
from qonnx.transformation.general import GiveUniqueNodeNames, SortGraph

from finn_vitprune.custom_ops.engine.engine import VitEngine, flattened
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.numerics import SCORE_BITS, head_mean_constant
from finn_vitprune.transforms.streams.node_names import kind_of, node_names

ATTENTION, DROP = "PrunedAttention", "VitTokenDrop"


def drop_encoders(model: ModelWrapper) -> set[int]:
    """Encoders (from 1) of a hardware graph that have a token drop, in engines or not."""
    found, names, ahead = set(), node_names(model), 0  # encoders in engines ahead, which the names do not count
    for node in model.graph.node:
        if isinstance(engine := getCustomOp(node), VitEngine):
            own = engine.get_nodeattr("encoders")
            found |= {own[e - 1] for e in drop_encoders(engine.body)}
            ahead += len(own)
        elif kind_of(node) == DROP:
            encoder = names[node.name].encoder
            assert encoder is not None  # a token drop stands in one
            found.add(encoder + ahead)
    return found


class SameDrops(Transformation):
    """Give these encoders of a flat, specialised graph a token drop, where they lack one: one that passes all tokens.

    All scores then have the bits of an encoder with all of its heads, so that networks with fewer have them, too.

    Args:
        encoders: from 1. One that works for the class token alone has nothing to drop and stays as it is.
        score_bits: the fewest bits of a score, :func:`score_bits` of the other networks of a design.
    """

    def __init__(self, encoders: Collection[int], score_bits: int = 0) -> None:
        super().__init__()
        self.encoders, self.score_bits = encoders, score_bits

    def apply(self, model: ModelWrapper):
        names = node_names(model)
        own = {e: [node for node in model.graph.node if names[node.name].encoder == e] for e in set(self.encoders) - drop_encoders(model)}
        for encoder in sorted(own):
            _add_drop(model, own[encoder])
        nodes = [node for node in model.graph.node if kind_of(node) in (ATTENTION, DROP)]
        if any(kind_of(node) == DROP for node in nodes):
            set_score_type(model, nodes, f"UINT{max(self.score_bits, score_bits(model))}")
        return model.transform(SortGraph()).transform(GiveUniqueNodeNames()), False


def score_bits(model: ModelWrapper) -> int:
    """Bits of a score when an encoder has all of its heads: as many as it has, as its tokens have room for, or as its token drops take."""
    ops = [getCustomOp(node) for node in flattened(model).graph.node if kind_of(node) in (ATTENTION, DROP)]
    drops, attentions = ([op for op in ops if kind_of(op.onnx_node) == kind] for kind in (DROP, ATTENTION))
    channels = max((op.get_nodeattr("channels") for op in drops), default=0)
    heads = max((max(op.get_nodeattr("heads"), channels // op.get_nodeattr("head_dim")) for op in attentions), default=0)
    return max([(heads << SCORE_BITS).bit_length(), *(DataType[op.get_nodeattr("scoreDataType")].bitwidth() for op in drops)])


def widen_scores(model: ModelWrapper, names: Collection[str]) -> None:
    """Give all scores of the nodes of an engine, by their names, the widest of their types."""
    nodes = [node for node in model.graph.node if node.name in names and kind_of(node) in (ATTENTION, DROP)]
    types = [getCustomOp(node).get_nodeattr("scoreDataType") for node in nodes if kind_of(node) == DROP]
    if types:
        set_score_type(model, nodes, max(types, key=lambda name: DataType[name].bitwidth()))


def set_score_type(model: ModelWrapper, nodes: Sequence[NodeProto], name: str) -> None:
    """Set the type of the scores of attentions and token drops."""
    for node in nodes:
        getCustomOp(node).set_nodeattr("scoreDataType", name)
        scores = node.input[1:2] if kind_of(node) == DROP else node.output[1:2]
        for tensor in scores:
            model.set_tensor_datatype(tensor, DataType[name])


def _add_drop(model: ModelWrapper, nodes: Sequence[NodeProto]) -> None:
    """A token drop that passes all tokens, behind the attention's residual of an encoder."""
    attention = next((node for node in nodes if kind_of(node) == ATTENTION), None)
    add = next((node for node in nodes if kind_of(node) == "VitAdd"), None)
    if attention is None or add is None:
        return
    unit, rows, prefix = getCustomOp(attention), getCustomOp(add).out_streams()[0], _prefix(model)
    if rows.tokens < prefix + 2 or rows.tokens != unit.get_nodeattr("tokens"):
        return
    scores, kept = f"{attention.output[0]}_scores", f"{add.output[0]}_kept"
    unit.set_nodeattr("scores", 1)
    attention.output.append(scores)
    mult, shift = head_mean_constant(unit.get_nodeattr("heads"))
    drop = make_node(
        f"{DROP}_rtl", [add.output[0], scores], [kept], name=f"{add.name}_drop", tokens=rows.tokens, channels=rows.channels,
        k=rows.tokens - prefix, prefix=prefix, mult=mult, shift=shift, scoreDataType=unit.score_type.name,
    )  # fmt: skip
    for node in model.graph.node:
        for i, tensor in enumerate(node.input):
            if tensor == add.output[0]:
                node.input[i] = kept
    model.graph.node.append(drop)
    op: VitOp = getCustomOp(drop)
    for tensor, stream in ((scores, op.in_streams()[1]), (kept, op.out_streams()[0])):
        model.set_tensor_shape(tensor, list(stream.shape))
        model.set_tensor_datatype(tensor, stream.dtype)


def _prefix(model: ModelWrapper) -> int:
    """Tokens at the start that the token drops of a flat graph keep: as its own ones do, else its prefix tokens, or one."""
    for kind in (DROP, "VitTokenEmbed"):
        for node in model.graph.node:
            if kind_of(node) == kind:
                return max(1, getCustomOp(node).get_nodeattr("prefix"))
    return 1
