"""Gives the nodes and tensors of an exported graph the names of the modules that they came from."""

from __future__ import annotations

from onnx import TensorProto
from qonnx.core.modelwrapper import ModelWrapper

_WRAPPERS = ("/quant/act_quant/export_handler", "/export_handler")
"""Scopes that Brevitas adds inside a quantiser."""


def module_name(name: str) -> str:
    """``/blocks.0/attn/q_quant/quant/act_quant/export_handler/Quant`` -> ``blocks.0.attn.q_quant.Quant``."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name.strip("/").replace("/", ".").replace("::", ".")


def inline_identities(model: ModelWrapper) -> None:
    """Replace ``Identity`` nodes on initialisers (which the exporter makes of equal tensors) by copies."""
    graph = model.graph
    constants = {i.name: i for i in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Identity"]:
        if node.input[0] in constants:
            copy = TensorProto()
            copy.CopyFrom(constants[node.input[0]])
            copy.name = node.output[0]
            graph.initializer.append(copy)
            constants[copy.name] = copy
            graph.node.remove(node)


PARAMETERS = (".weight", ".bias", "pos_embed", "prefix_tokens", "attn_pool.query")
"""How PyTorch's names of weights, biases and embeddings end, where they survived."""


def name_after_modules(model: ModelWrapper) -> None:
    """Rename every node and inner tensor after its module, unique; graph inputs and outputs stay.

    Parameters of a ``Quant`` node are called ``<node>.scale``, ``.zero`` and ``.bits``; other constants
    without a parameter name of PyTorch ``<node>.<position>``. Call it last: it also replaces the random
    names that qonnx gives to shared constants, so that two exports of one network are equal.
    """
    graph = model.graph
    fixed = {v.name for v in (*graph.input, *graph.output)}
    constants = {i.name for i in graph.initializer}
    renamed: dict[str, str] = {name: name for name in fixed} | {"": ""}
    taken = set(fixed)
    node_names: set[str] = set()
    for node in graph.node:
        node.name = _unique(module_name(node.name), node_names)
        suffixes = ("x", "scale", "zero", "bits") if node.op_type == "Quant" else ()
        for position, name in enumerate(node.input):
            if name in renamed:
                continue
            if name not in constants or name.endswith(PARAMETERS):
                wanted = module_name(name)
            else:
                suffix = suffixes[position] if position < len(suffixes) else str(position)
                wanted = f"{node.name.removesuffix('.Quant')}.{suffix}"
            renamed[name] = _unique(wanted, taken)
        for name in node.output:
            renamed.setdefault(name, _unique(module_name(name), taken) if name not in renamed else "")
    for node in graph.node:
        node.input[:] = [renamed[i] for i in node.input]
        node.output[:] = [renamed[o] for o in node.output]
    for thing in (*graph.initializer, *graph.value_info):
        thing.name = renamed.get(thing.name, thing.name)
    annotations = [a for a in graph.quantization_annotation if a.tensor_name in renamed]
    for annotation in annotations:
        annotation.tensor_name = renamed[annotation.tensor_name]
    del graph.quantization_annotation[:]
    graph.quantization_annotation.extend(annotations)


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate
