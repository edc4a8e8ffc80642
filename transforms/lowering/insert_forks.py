"""Gives every reader of a stream a copy of its own."""

from __future__ import annotations

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.base import Transformation

from finn_vitprune.custom_ops.registry import hardware_op, make_node
from finn_vitprune.transforms.streams.edges import new_tensor, position


class InsertForks(Transformation):
    """Put a VitFork after every hardware tensor with more than one reader (a chain for more than two)."""

    def apply(self, model: ModelWrapper):
        for node in list(model.graph.node):
            if hardware_op(node) is None:
                continue
            for tensor in list(node.output):
                readers = [(n, i) for n in model.graph.node for i, name in enumerate(n.input) if name == tensor]
                source = tensor
                while len(readers) > 1:
                    source = self._fork(model, source, readers)
        return model, False

    def _fork(self, model: ModelWrapper, source: str, readers: list) -> str:
        """Fork ``source``: one copy to the first reader, the other to all others; returns the latter."""
        tokens, channels = model.get_tensor_shape(source)[-2:]
        datatype = model.get_tensor_datatype(source)
        outputs = [new_tensor(model, (1, tokens, channels), datatype) for _ in range(2)]
        fork = make_node("VitFork", [source], outputs, tokens=tokens, channels=channels, inputDataType=datatype.name)
        first = min(position(model, n) for n, _ in readers)
        model.graph.node.insert(first, fork)
        node, i = readers.pop(0)
        node.input[i] = outputs[0]
        for node, i in readers:
            node.input[i] = outputs[1]
        return outputs[1]
