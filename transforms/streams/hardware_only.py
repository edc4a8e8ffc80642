"""The hardware's part of a graph, without what runs on the host."""

from __future__ import annotations

from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.base import Transformation

from finn_vitprune.errors import UserError


class HardwareOnly(Transformation):
    """Remove the host's nodes: the graph begins and ends at the hardware's streams, as the partition of a build does.

    Raises:
        UserError: the hardware has no, or more than one, stream from the host, or to it.
    """

    def apply(self, model: ModelWrapper):
        graph = model.graph
        for node in [n for n in graph.node if not n.domain.startswith("finn")]:
            graph.node.remove(node)
        made = dict.fromkeys(name for node in graph.node for name in node.output)
        read = dict.fromkeys(name for node in graph.node for name in node.input if name and model.get_initializer(name) is None)
        _end_at(model, [name for name in read if name not in made], graph.input, "from")
        _end_at(model, [name for name in made if name not in read], graph.output, "to")
        return model, False


def _end_at(model: ModelWrapper, streams: list[str], ends, way: str) -> None:
    """Let ``ends``, the inputs or the outputs of the graph, be the one stream that there is."""
    if len(streams) != 1:
        raise UserError(
            f"the hardware has {len(streams)} streams {way} the host ({', '.join(streams)}): a model needs one input and one output"
        )
    info = model.get_tensor_valueinfo(streams[0])
    end = helper.make_tensor_value_info(streams[0], info.type.tensor_type.elem_type, model.get_tensor_shape(streams[0]))
    if info in model.graph.value_info:
        model.graph.value_info.remove(info)
    del ends[:]
    ends.append(end)
