"""Runs a hardware graph's golden models on whole batches of frames at once."""

from __future__ import annotations

import numpy as np
import qonnx.core.onnx_exec as qonnx_exec
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.layernorm.layernorm import VitLayerNorm
from finn_vitprune.custom_ops.registry import DOMAIN, hardware_op


def run(model: ModelWrapper, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Execute ``model`` on ``[frames, ...]`` integer arrays; returns every stream tensor as int64.

    Hardware ops run vectorised through :meth:`VitOp.compute`. Of a parent graph the host nodes (patch
    order of the image) run, up to the dataflow partition.
    """
    values = {name: np.asarray(array) for name, array in inputs.items()}
    for node in model.graph.node:
        if node.op_type == "StreamingDataflowPartition":
            break
        values.update((run_node if is_hardware(node) else _run_host_node)(model, node, values))
    return values


def hardware_nodes(model: ModelWrapper) -> list[NodeProto]:
    """The nodes that are ops of the accelerator, in graph order."""
    return [node for node in model.graph.node if is_hardware(node)]


def run_node(model: ModelWrapper, node: NodeProto, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of one op, int64, from ``values`` ``[frames, ...]`` of its inputs; constants come from ``model``."""
    arrays = [values[n] if n in values else np.rint(model.get_initializer(n)) for n in node.input]
    return dict(zip(node.output, getCustomOp(node).compute(*(a.astype(np.int64) for a in arrays))))


def is_hardware(node: NodeProto) -> bool:
    """Whether a node is an op of the accelerator."""
    return node.domain.startswith(DOMAIN)


def _run_host_node(model: ModelWrapper, node: NodeProto, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    name = next(n for n in node.input if n in values)
    flat = values[name].reshape(len(values[name]), -1)
    orders = zip(node.output, pixel_orders(model, node), strict=True)
    return {o: flat[:, order.reshape(-1)].reshape(-1, *order.shape) for o, order in orders}


def pixel_orders(model: ModelWrapper, node: NodeProto) -> list[np.ndarray]:
    """For each output of a host node the place in a flat frame of its input from which each value comes.

    Host nodes only move pixels, so one run on positions says it all.
    """
    name = next(n for n in node.input if model.get_initializer(n) is None)
    shape = model.get_tensor_shape(name)
    context = {n: model.get_initializer(n) for n in node.input}
    context[name] = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    context.update({o: np.zeros(model.get_tensor_shape(o), np.float32) for o in node.output})
    opset = next(o.version for o in model.model.opset_import if o.domain in ("", "ai.onnx"))
    qonnx_exec.execute_node(node, context, model.graph, opset)
    return [context[o][0].astype(np.int64) for o in node.output]


def saturations(model: ModelWrapper, values: dict[str, np.ndarray]) -> int:
    """How many residual INT16 codes, and of queries and keys before their norms, sit at a limit of their type (0 on the test set is required).

    Values beside such keys are clipped as values of other networks are.
    """
    counted = ((values[name], _passed(model, name)) for name in residual_streams(model))
    return sum(int(np.count_nonzero(np.isin(x[..., : x.shape[-1] - passed], (-32768, 32767)))) for x, passed in counted)


def _passed(model: ModelWrapper, name: str) -> int:
    """The last channels of a stream that the norm which reads it passes."""
    while len(readers := model.find_consumers(name) or []) == 1 and (op := hardware_op(readers[0])) is not None:
        if isinstance(op, VitLayerNorm):
            return op.get_nodeattr("passed") * op.width
        if not (op.is_buffer or op.is_converter or op.is_crossing):
            break
        name = readers[0].output[0]
    return 0


def residual_streams(model: ModelWrapper) -> list[str]:
    """Names of the tensors of INT16 codes."""
    return [
        name
        for node in hardware_nodes(model)
        for name, stream in zip(node.output, getCustomOp(node).out_streams())
        if stream.dtype.bitwidth() == 16 and stream.dtype.signed()
    ]
