"""Builds the integer hardware graph node by node."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.registry import make_node

CONTAINER = TensorProto.FLOAT


class HardwareGraph:
    """Collects nodes, initialisers and tensor annotations, then makes a qonnx model of them."""

    def __init__(self) -> None:
        self.nodes = []
        self.initialisers = []
        self.value_infos: dict[str, object] = {}
        self.datatypes: dict[str, str] = {}
        self._count = 0

    def fresh(self, stem: str) -> str:
        """A tensor name not used before."""
        self._count += 1
        return f"{stem}_{self._count}"

    def constant(self, stem: str, values: np.ndarray, datatype: str) -> str:
        """Add an integer initialiser; float64 where float32 would not hold it exactly."""
        name = self.fresh(stem)
        values = np.asarray(values)
        wide = values.size and np.abs(values).max() >= 1 << 24
        self.initialisers.append(
            numpy_helper.from_array(values.astype(np.float64 if wide else np.float32), name)
        )
        self.datatypes[name] = datatype
        return name

    def add(self, op_type: str, inputs: list[str], outputs: list[str], **attributes) -> None:
        """Add a hardware node; shapes and data types of its outputs follow from the op itself."""
        node = make_node(op_type, inputs, outputs, **attributes)
        self.nodes.append(node)
        op = getCustomOp(node)
        for i, name in enumerate(outputs):
            self.declare(name, op.get_normal_output_shape(i), op.get_output_datatype(i).name)

    def add_raw_initialiser(self, name: str, values: np.ndarray) -> None:
        """Add a constant of a host node under its own name and type."""
        if all(i.name != name for i in self.initialisers):
            self.initialisers.append(numpy_helper.from_array(np.asarray(values), name))

    def declare(self, name: str, shape, datatype: str) -> None:
        """Annotate a tensor with its shape and integer data type."""
        self.value_infos[name] = helper.make_tensor_value_info(name, CONTAINER, [int(d) for d in shape])
        self.datatypes[name] = datatype

    def model(self, graph_input: str, graph_output: str, name: str) -> ModelWrapper:
        """The finished model with annotations, nodes in the order they were added."""
        infos = dict(self.value_infos)
        inputs, outputs = [infos.pop(graph_input)], [infos.pop(graph_output)]
        graph = helper.make_graph(
            self.nodes, name, inputs, outputs, self.initialisers, value_info=list(infos.values())
        )
        opsets = [helper.make_opsetid("", 17)] + [
            helper.make_opsetid(d, 1) for d in ("finn.custom_op.fpgadataflow", "finn.custom_op.fpgadataflow.rtl")
        ]
        model = ModelWrapper(helper.make_model(graph, opset_imports=opsets, producer_name="finn-vitprune"))
        for tensor, datatype in self.datatypes.items():
            model.set_tensor_datatype(tensor, DataType[datatype])
        return model
