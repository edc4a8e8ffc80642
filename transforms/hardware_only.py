"""The hardware's part of a graph, without what runs on the host."""

from __future__ import annotations

from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.base import Transformation


class HardwareOnly(Transformation):
    """Remove the host's nodes: the graph begins and ends at the hardware's streams, as the partition of a build does.

    Raises:
        ValueError: the hardware has no, or more than one, stream from the host, or to it.
    """

    def apply(self, model: ModelWrapper):
        graph = model.graph
        for node in [n for n in graph.node if not n.domain.startswith("finn")]:
            graph.node.remove(node)
        made = [name for node in graph.node for name in node.output]
        read = [name for node in graph.node for name in node.input if name and model.get_initializer(name) is None]
        _begin_and_end_at(model, list(dict.fromkeys(name for name in read if name not in set(made))), graph.input)
        _begin_and_end_at(model, [name for name in made if name not in set(read)], graph.output)
        return model, False


def _begin_and_end_at(model: ModelWrapper, streams: list[str], ends) -> None:
    """Let the ``ends`` of the graph be the one stream that there is."""
    if len(streams) != 1:
        raise ValueError(f"the hardware has {len(streams)} streams at an end, not one: {streams}")
    info = model.get_tensor_valueinfo(streams[0])
    shape = model.get_tensor_shape(streams[0])
    end = helper.make_tensor_value_info(streams[0], info.type.tensor_type.elem_type, shape)
    if info in model.graph.value_info:
        model.graph.value_info.remove(info)
    del ends[:]
    ends.append(end)
