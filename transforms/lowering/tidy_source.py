"""What a QONNX model goes through before it is lowered, where no step of FINN's builder does it."""

from __future__ import annotations

from finn.transformation.qonnx.give_unique_node_names_recursive import GiveUniqueNodeNamesRecursive
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.base import Transformation
from qonnx.transformation.fold_constants import FoldConstants
from qonnx.transformation.infer_shapes import InferShapes


class TidySource(Transformation):
    """Infer shapes, fold constants, name nodes and tensors: what is lowered then is what is lowered after FINN's ``step_tidy_up``.

    That step also infers data types, which lowering does not read, and looks through all tensors for every one that it names.
    """

    def apply(self, model: ModelWrapper):
        for transformation in (InferShapes(), FoldConstants(), GiveUniqueNodeNamesRecursive()):
            model = model.transform(transformation, make_deepcopy=False)
        _name_tensors(model)
        return model, False


def _name_tensors(model: ModelWrapper) -> None:
    """The names of qonnx's ``GiveReadableTensorNames``, all tensors in one pass."""
    graph = model.graph
    constants = {initializer.name for initializer in graph.initializer}
    names: dict[str, str] = {}
    for node in graph.node:
        names |= {name: f"{node.name}_out{i}" for i, name in enumerate(node.output)}
        names |= {name: f"{node.name}_param{i}" for i, name in enumerate(name for name in node.input if name in constants)}
    for end, values in (("global_in", graph.input), ("global_out", graph.output)):
        names |= {value.name: f"{end}_{i}" if i else end for i, value in enumerate(values)}
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = names.get(annotation.tensor_name, annotation.tensor_name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
