"""Three passes of qonnx with an index: the same graphs, in time that grows with the graph and not with its square.

qonnx looks through all tensors, or all nodes, for each tensor. Every ``ModelWrapper.transform`` ends with these passes, every
``ModelWrapper`` begins with one of them: on a network of 12 encoders they took most of the time of a pass.
"""

from __future__ import annotations

from collections import Counter
from graphlib import TopologicalSorter

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.general import GiveUniqueParameterTensors, SortGraph

_shapes_specified = ModelWrapper.check_all_tensor_shapes_specified
_sort = SortGraph.apply
_make_unique = GiveUniqueParameterTensors.apply


def use_index() -> None:
    """Put the passes of this module in the place of qonnx's. Idempotent."""
    ModelWrapper.check_all_tensor_shapes_specified = all_shapes_specified
    SortGraph.apply = sort_graph
    GiveUniqueParameterTensors.apply = make_parameters_unique


def all_shapes_specified(model: ModelWrapper, fix_missing_init_shape: bool = False) -> bool:
    """Whether each tensor of a node has a shape; ``fix_missing_init_shape`` writes that of constants which have none."""
    graph = model.graph
    shapes = Counter(value.name for values in (graph.input, graph.output, graph.value_info) for value in values)
    used = {name for node in graph.node for name in (*node.input, *node.output) if name}
    if all(shapes[name] == 1 for name in used):
        return True
    return _shapes_specified(model, fix_missing_init_shape)


def sort_graph(sort: SortGraph, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
    """Sort the nodes by their distance from the inputs; nodes that nothing reaches go."""
    graph = model.graph
    nodes = list(graph.node)
    if len(nodes) == 1:
        return model, False
    makers = {name: place for place, node in reversed(list(enumerate(nodes))) for name in node.output}
    given = {value.name for values in (graph.initializer, graph.input) for value in values}
    needed: TopologicalSorter[int] = TopologicalSorter()
    for place, node in enumerate(nodes):
        before = {makers[name] for name in node.input if name in makers}
        if before or any(name in given for name in node.input):
            needed.add(place, *before)
    needed.prepare()
    ordered = []
    while ready := sorted(needed.get_ready()):
        ordered += [nodes[place] for place in ready]
        needed.done(*ready)
    del graph.node[:]
    graph.node.extend(ordered)
    return model, False


def make_parameters_unique(unique: GiveUniqueParameterTensors, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
    """Give each use of a constant a constant of its own."""
    constants = {value.name for value in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input if name in constants)
    return _make_unique(unique, model) if any(count > 1 for count in uses.values()) else (model, False)
