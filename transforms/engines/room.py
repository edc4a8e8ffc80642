"""Room for networks that are not at hand: a network of the same kind that keeps more."""

from __future__ import annotations

from math import ceil, inf

import numpy as np
from onnx import NodeProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.block_mask import BlockMask
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.numerics import head_mean_constant
from finn_vitprune.transforms.streams.node_names import kind_of, node_names

EVERYTHING = inf
"""The share of the dense network."""
MLP_RATIO = 4
"""Neurons of a dense encoder, in channels of a token."""


def with_room(model: ModelWrapper, share: float) -> ModelWrapper:
    """A network as a flat, specialised one that keeps ``share`` more of each: tokens, heads, neurons, blocks of weights; at most all.

    Where it pools by mean, the tokens stay as they are: how many the mean is of cannot be loaded. Sizes mean something in it, weights do not. All heads are as many as fill the channels of a token, all neurons
    ``MLP_RATIO`` times those.
    """
    model = ModelWrapper(model.model, make_deepcopy=True)
    return _Grown(model, share).model


class _Grown:
    def __init__(self, model: ModelWrapper, share: float) -> None:
        self.model, self.share, self.names = model, share, node_names(model)
        self.rng = np.random.default_rng(0)
        self.gated = any(kind_of(node) == "VitGate" for node in model.graph.node)
        self.more_tokens = not any(kind_of(node) == "VitTokenMean" for node in model.graph.node)
        self.sizes: dict[str, tuple[int, int]] = {}  # tokens and channels, by tensor
        self.rules = {
            "VitSplit": self._split, "PrunedAttention": self._attention, "VitTokenDrop": self._drop, "BlockSparseMVAU": self._matrix,
            "VitRotary": self._rotary, "VitLayerNorm": self._norm,
        }  # fmt: skip
        for node in model.graph.node:
            self._grow(node, getCustomOp(node))

    def _more(self, count: int, most: int) -> int:
        return most if self.share == EVERYTHING else min(most, ceil(count * (1 + self.share)))

    def _grow(self, node: NodeProto, op: VitOp) -> None:
        streams = node.input[: len(op.in_streams())]
        inputs = [self.sizes[tensor] for tensor in streams if tensor in self.sizes]
        if len(inputs) == len(streams):
            self.rules.get(kind_of(node), self._stream)(node, op, inputs)
        for tensor, stream in zip(node.output, op.out_streams()):
            self.sizes[tensor] = stream.tokens, stream.channels
            self.model.set_tensor_shape(tensor, list(stream.shape))

    def _stream(self, node: NodeProto, op: VitOp, inputs: list[tuple[int, int]]) -> None:
        for name, value in zip(("tokens", "channels"), inputs[0]):
            if name in op.get_nodeattr_types():
                op.set_nodeattr(name, value)

    def _split(self, node: NodeProto, op: VitOp, inputs: list[tuple[int, int]]) -> None:
        first = op.get_nodeattr("first") * inputs[0][1] // op.get_nodeattr("channels")
        self._stream(node, op, inputs)
        op.set_nodeattr("first", first)

    def _norm(self, node: NodeProto, op: VitOp, inputs: list[tuple[int, int]]) -> None:
        """More heads are more rows of a token; the residual stream has as many channels as before."""
        before, counts = op.get_nodeattr("channels"), {name: op.get_nodeattr(name) for name in ("rows", "passed")}
        self._stream(node, op, inputs)
        for name, count in counts.items():
            op.set_nodeattr(name, count * inputs[0][1] // before)

    def _rotary(self, node: NodeProto, op: VitOp, inputs: list[tuple[int, int]]) -> None:
        """More heads share the table; where each has its own, the further ones have those of the first."""
        before, rotated, table = (op.get_nodeattr(name) for name in ("channels", "rotated", "table_channels"))
        self._stream(node, op, inputs)
        op.set_nodeattr("rotated", rotated * inputs[0][1] // before)
        if table == rotated and table > self._head_dim():
            op.set_nodeattr("table_channels", op.get_nodeattr("rotated"))
            values = self.model.get_initializer(node.input[1])
            columns = np.resize(np.arange(table), op.get_nodeattr("rotated"))
            self.model.set_initializer(node.input[1], values[:, columns])

    def _head_dim(self) -> int:
        return next(getCustomOp(n).get_nodeattr("head_dim") for n in self.model.graph.node if kind_of(n) == "PrunedAttention")

    def _attention(self, node: NodeProto, op: VitOp, inputs: list[tuple[int, int]]) -> None:
        """More heads have position biases of the others."""
        (queries, channels), (tokens, _) = inputs
        heads = channels // op.get_nodeattr("head_dim")
        for name, value in (("queries", queries), ("tokens", tokens), ("heads", heads)):
            op.set_nodeattr(name, value)
        for tensor in node.input[3:]:
            bias = self.model.get_initializer(tensor)
            self.model.set_initializer(tensor, np.resize(bias, (heads, *bias.shape[1:])))

    def _drop(self, node: NodeProto, op: VitOp, inputs: list[tuple[int, int]]) -> None:
        tokens = inputs[0][0]
        kept, prefix = op.get_nodeattr("k"), op.get_nodeattr("prefix")
        op.set_nodeattr("tokens", tokens)
        op.set_nodeattr("k", self._more(kept, tokens - prefix) if self.more_tokens else kept)
        attention = getCustomOp(self.model.find_producer(node.input[1]))
        for name, value in zip(("mult", "shift"), head_mean_constant(attention.get_nodeattr("heads"))):
            op.set_nodeattr(name, value)

    def _matrix(self, node: NodeProto, op: VitOp, inputs: list[tuple[int, int]]) -> None:
        (tokens, rows), get = inputs[0], op.get_nodeattr
        columns = self._columns(node, rows, get("MH"))
        own = BlockMask.of(self.model.get_initializer(node.input[1]), get("block"))
        for name, value in (("tokens", tokens), ("MW", rows), ("MH", columns)):
            op.set_nodeattr(name, value)
        grid = np.zeros([-(-side // own.block) for side in (rows, columns)], bool)
        if self.names[node.name].layer == "Q scale":
            np.fill_diagonal(grid, True)
        else:
            kept = self._more(round(grid.size * own.kept / own.grid.size), grid.size)
            grid.flat[self.rng.permutation(grid.size)[:kept]] = True
        weights = grid.repeat(own.block, 0).repeat(own.block, 1)[:rows, :columns] * DataType[get("weightDataType")].max()
        self.model.set_initializer(node.input[1], weights.astype(np.float32))
        for tensor in node.input[2:]:
            value = self.model.get_initializer(tensor)
            self.model.set_initializer(tensor, np.resize(value, (*value.shape[:-1], columns)))
        op.plan(weights)

    def _columns(self, node: NodeProto, channels: int, own: int) -> int:
        """Columns of a matrix that tokens of so many channels come to: those of more heads, or of more neurons; elsewhere ``own``."""
        layer, blocks = self.names[node.name].layer, {"QKV": 3, "KV": 2, "Q": 1}
        block = getCustomOp(node).get_nodeattr("block")
        if layer in blocks:
            dim = self._head_dim()
            parts = blocks[layer] * dim
            return parts * self._more(own // parts, max(own // parts, channels // dim))
        if layer == "Q scale":
            return channels
        if layer == "MLP 1":
            rows = 2 if self.gated else 1
            most = max(own, rows * MLP_RATIO * channels)
            return min(-(-self._more(own, most) // (rows * block)) * rows * block, most)
        return own
