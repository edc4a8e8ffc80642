"""Networks whose neurons do not fill whole beats of a design, made to: with neurons that have no weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.engine import VitEngine
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.transforms.streams.node_names import kind_of, node_names

INTO, OUT_OF = "MLP 1", "MLP 2"
"""Layers whose columns, and whose rows, are neurons."""
BETWEEN = ("VitLookup", "VitGate")
"""Op types of what may work on neurons between these two."""


def neurons_a_beat(design: ModelWrapper) -> int:
    """The number of which the neurons of an encoder must be a multiple to pass a folded design in whole beats."""
    beats = {1}
    for layer, op in _layers(design):
        if layer == OUT_OF:
            beats.add(op.in_streams()[0].simd)
        elif layer == INTO:
            beats.add(op.out_streams()[0].simd)
        elif layer.startswith("MLP") and kind_of(op.onnx_node) in BETWEEN:
            beats |= {op.in_streams()[0].simd, op.out_streams()[0].simd}
    return math.lcm(*beats)


def _layers(design: ModelWrapper) -> Iterator[tuple[str, VitOp]]:
    """Each layer's name in its encoder, and its op; an engine gives the layers of its encoders."""
    names = node_names(design)
    for node in design.graph.node:
        op = getCustomOp(node)
        if not isinstance(op, VitEngine):
            yield names[node.name].layer, op
            continue
        nodes = {inside.name: inside for inside in op.body.graph.node}
        for role, encoders in json.loads(op.get_nodeattr("roles")):
            yield from ((role, getCustomOp(nodes[name])) for own in encoders for name in own)


def pad_neurons(network: ModelWrapper, multiple: int) -> ModelWrapper:
    """A flat, specialised network with as many neurons in each encoder as the next multiple, exactly the same otherwise: those on top have
    no block of weights on either side.

    What has anything but a table or a gate between its two matrices stays as it is.
    """
    if multiple == 1:
        return network
    network = ModelWrapper(network.model, make_deepcopy=True)
    names = node_names(network)
    for node in network.graph.node:
        between = network.find_consumer(node.output[0]) if names[node.name].layer == INTO else None
        if between is None or kind_of(between) not in BETWEEN:
            continue
        behind = network.find_consumer(between.output[0])
        if behind is None or names[behind.name].layer != OUT_OF:
            continue
        into, middle, out_of = map(getCustomOp, (node, between, behind))
        neurons, columns = out_of.get_nodeattr("MW"), into.get_nodeattr("MH")
        padded = math.ceil(neurons / multiple) * multiple
        if padded == neurons:
            continue
        more = (padded - neurons) * (columns // neurons)
        into.set_nodeattr("MH", columns + more)
        middle.set_nodeattr("channels", columns + more)
        out_of.set_nodeattr("MW", padded)
        weights, bias, *mult = node.input[1:]
        _resize(network, weights, ((0, 0), (0, more)), 0)
        _resize(network, bias, ((0, more),), 0)
        for tensor in mult:
            _resize(network, tensor, ((0, more),), 1)
        _resize(network, behind.input[1], ((0, padded - neurons), (0, 0)), 0)
        for op, tensor in ((into, weights), (out_of, behind.input[1])):
            op.plan(network.get_initializer(tensor))
        for op in (into, middle):
            network.set_tensor_shape(op.onnx_node.output[0], list(op.out_streams()[0].shape))
    return network


def _resize(network: ModelWrapper, tensor: str, more: tuple[tuple[int, int], ...], value: int) -> None:
    """Put ``value`` behind what a constant has."""
    kind = network.get_tensor_datatype(tensor)
    network.set_initializer(tensor, np.pad(network.get_initializer(tensor), more, constant_values=value))
    network.set_tensor_datatype(tensor, kind)
