"""The load port of a design whose memories are loaded at start-up, and the order of its load chain."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.custom_ops.engine.engine import flattened
from finn_vitprune.custom_ops.op.rtl_backend import STAGES_A_BORDER
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.transforms.streams.edges import new_tensor, slr_of, stream_attributes

PORT, END = "VitLoadPort_rtl", "VitLoadEnd_rtl"


class InsertLoadPort(Transformation):
    """Put VitLoadPort_rtl before the first node and VitLoadEnd_rtl after the last one, and say who follows whom on the chain.

    A graph without loaded memories stays as it is. Runs when all else is inserted, nodes have their names, and folding and
    ``ram_style`` are set; those of FIFOs may follow.

    Args:
        design: the design's number, where nothing is loaded, only counted; None: :func:`design_number`.
    """

    def __init__(self, design: int | None = None) -> None:
        super().__init__()
        self.design = design

    def apply(self, model: ModelWrapper):
        loaded = [node for node in model.graph.node if getCustomOp(node).loaded_regions()]
        if not loaded or model.get_nodes_by_op_type(PORT):
            return model, False
        words = sum(region.size for node in loaded for region in getCustomOp(node).loaded_regions())
        design = design_number(model) if self.design is None else self.design
        source, sink = model.graph.input[0].name, model.graph.output[0].name
        first, last = model.find_consumer(source), model.find_producer(sink)
        after, before = (new_tensor(model, model.get_tensor_shape(t), model.get_tensor_datatype(t)) for t in (source, sink))
        into, out_of = getCustomOp(first).in_streams()[0], getCustomOp(last).out_streams()[0]
        port = make_node(PORT, [source], [after], f"{PORT}_0", words=words, design=design, **stream_attributes(into, slr_of(first)))
        end = make_node(END, [before], [sink], f"{END}_0", load_to=port.name, **stream_attributes(out_of, slr_of(last)))
        first.input[list(first.input).index(source)] = after
        last.output[list(last.output).index(sink)] = before
        model.graph.node.insert(0, port)
        model.graph.node.append(end)
        chain = [model.graph.node[0], *loaded, model.graph.node[-1]]
        for one, other in [*pairwise(chain), (chain[-1], chain[0])]:
            op = getCustomOp(other)
            op.set_nodeattr("load_stages", STAGES_A_BORDER * max(1, abs(slr_of(one) - slr_of(other))))
            if other is not chain[0]:
                op.set_nodeattr("load_from", one.name)
        return model, False


def design_number(model: ModelWrapper) -> int:
    """32 bits of the SHA-256 of all that decides what loaded words mean and what else the design computes.

    That is every op but FIFOs, converters and crossings, units of engines included, with its attributes, and its parameters: of
    loaded weights only which blocks are kept, of all others the values. Contents for one number are right for every design that has it.
    """
    digest = hashlib.sha256()
    whole = flattened(model)
    for node in whole.graph.node:
        op = getCustomOp(node)
        if op.is_buffer or op.is_converter or op.is_crossing:
            continue
        kept = {name: op.get_nodeattr(name) for name in sorted(op.own_attributes().keys() - PLACE)}
        digest.update(json.dumps([node.name, node.op_type, kept], default=lambda value: value.tolist()).encode())
        for i, name in enumerate(node.input):
            if (values := whole.get_initializer(name)) is None:
                continue
            fixed = op.fixed_part(i, values)
            digest.update(f"{fixed.shape}".encode() + fixed.astype("<f8").tobytes())
    return int.from_bytes(digest.digest()[:4], "little")


PLACE = {"link_stages", "load_from", "load_stages", "load_to", "reset_stages"}
"""Attributes that say where a unit is, not what it does."""
