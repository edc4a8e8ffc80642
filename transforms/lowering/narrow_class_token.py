"""Moves token selection towards the input, so that the last encoder works for the class token alone."""

from __future__ import annotations

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation
from qonnx.transformation.general import SortGraph

from finn_vitprune.custom_ops.mvau.block_sparse_mvau import BlockSparseMVAU
from finn_vitprune.custom_ops.registry import hardware_op, make_node
from finn_vitprune.custom_ops.streams.split import VitSplit
from finn_vitprune.transforms.streams.edges import new_tensor


class NarrowClassToken(Transformation):
    """Swap a VitSelectToken with the op before it while nothing else needs that op's other tokens.

    Token-wise ops then run for one token. In attention only the query is narrowed: Q gets a matrix
    unit of its own for one token, K and V keep all tokens. A token drop whose result is only used for
    the class token disappears. The bits of the result do not change.
    """

    def apply(self, model: ModelWrapper):
        moved = False
        while self._step(model):
            moved = True
        if moved:
            model = model.transform(SortGraph())
        return model, False

    def _step(self, model: ModelWrapper) -> bool:
        for node in filter(_of_one_token, model.get_nodes_by_op_type("VitSelectToken")):
            tensor = node.input[0]
            readers = model.find_consumers(tensor) or []
            index = getCustomOp(node).get_nodeattr("index")
            same = all(_selects(r, index) for r in readers)
            producer = model.find_producer(tensor)
            if producer is None or not same or tensor in [o.name for o in model.graph.output]:
                continue
            if self._move(model, producer, tensor, readers, index):
                return True
        return False

    def _move(self, model, producer: NodeProto, tensor: str, readers: list[NodeProto], index: int) -> bool:
        op = hardware_op(producer)
        if op is None or tensor != producer.output[0]:
            return False
        if isinstance(op, VitSplit):
            return _separate_query(model, producer, readers, index)
        needs = op.one_token(index)
        if needs is None or any(model.find_consumers(name) for name in producer.output[1:]):
            return False
        for i in needs.inputs:
            producer.input[i] = _select(model, producer.input[i], index)
        if needs.attributes is None:
            _replace(model, readers, producer.input[0])
            model.graph.node.remove(producer)
            return True
        for name, value in needs.attributes.items():
            op.set_nodeattr(name, value)
        model.set_tensor_shape(tensor, [1, 1, model.get_tensor_shape(tensor)[-1]])
        _replace(model, readers, tensor)
        return True


def _of_one_token(node: NodeProto) -> bool:
    return getCustomOp(node).get_nodeattr("count") == 1


def _selects(node: NodeProto, index: int) -> bool:
    """Whether a node selects the token ``index`` alone."""
    return node.op_type == "VitSelectToken" and _of_one_token(node) and getCustomOp(node).get_nodeattr("index") == index


def _select(model: ModelWrapper, tensor: str, index: int) -> str:
    """A tensor holding one token of ``tensor``; reuses a selection that exists."""
    for reader in model.find_consumers(tensor) or []:
        if _selects(reader, index):
            return reader.output[0]
    tokens, channels = model.get_tensor_shape(tensor)[-2:]
    datatype = model.get_tensor_datatype(tensor)
    out = new_tensor(model, (1, 1, channels), datatype)
    model.graph.node.append(
        make_node("VitSelectToken", [tensor], [out], tokens=tokens, channels=channels, index=index, inputDataType=datatype.name)
    )
    return out


def _replace(model: ModelWrapper, selections: list[NodeProto], tensor: str) -> None:
    """Remove selection nodes and let their readers read ``tensor``."""
    for selection in selections:
        old = selection.output[0]
        for node in model.graph.node:
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = tensor
        for output in model.graph.output:
            if output.name == old:
                output.name = tensor
        model.graph.node.remove(selection)


def _separate_query(model: ModelWrapper, split: NodeProto, readers: list[NodeProto], index: int) -> bool:
    """Q for one token in a matrix unit of its own, K and V as before; the split disappears."""
    unit = model.find_producer(split.input[0])
    if unit is None or not isinstance(hardware_op(unit), BlockSparseMVAU) or len(model.find_consumers(split.input[0])) != 1:
        return False
    first = getCustomOp(split).get_nodeattr("first")
    x, query, keyvalue = unit.input[0], split.output[0], split.output[1]
    model.set_tensor_shape(query, [1, 1, first])
    query_unit, keyvalue_unit = NodeProto(), NodeProto()
    for node, part, out in ((query_unit, slice(0, first), query), (keyvalue_unit, slice(first, None), keyvalue)):
        node.CopyFrom(unit)
        node.output[0] = out
        for i, name in enumerate(unit.input[1:], start=1):
            values = model.get_initializer(name)[..., part]
            node.input[i] = new_tensor(model, values.shape, model.get_tensor_datatype(name))
            model.set_initializer(node.input[i], values)
        getCustomOp(node).set_nodeattr("MH", model.get_tensor_shape(out)[-1])
    query_unit.input[0] = _select(model, x, index)
    getCustomOp(query_unit).set_nodeattr("tokens", 1)
    model.graph.node.extend([query_unit, keyvalue_unit])
    model.graph.node.remove(unit)
    model.graph.node.remove(split)
    _replace(model, readers, query)
    return True
