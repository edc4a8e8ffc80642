"""The export gate: every Quant and TokenDrop of the QONNX graph against PyTorch, given the same inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.custom_op.general.quant import quant
from qonnx.custom_op.registry import getCustomOp
from torch import nn

from finn_vitprune import numerics
from finn_vitprune.execute.qonnx_runner import in_double, widened
from finn_vitprune.models.evaluate import hooked
from finn_vitprune.models.layers import DropTokens, IntLayerNorm, Turn
from finn_vitprune.models.quantizers import ActQuant
from finn_vitprune.models.vit import PrunedViT


@dataclass(frozen=True)
class GateReport:
    """What the gate found.

    values: quantised values compared; near_ties: those that differ by one code beside a tie (allowed);
    reason: the first failure or "". max_logit_diff, logit_scale: end to end through qonnx's executor, the
    largest difference and the largest |logit| of PyTorch; images: how many ran end to end.
    """

    values: int
    near_ties: int
    reason: str
    max_logit_diff: float
    logit_scale: float
    images: int

    @property
    def passed(self) -> bool:
        """Whether a file may be written."""
        return not self.reason


def check_export(frozen: PrunedViT, model: ModelWrapper, images: np.ndarray, end_to_end: int = 1) -> GateReport:
    """Compare ``model`` with ``frozen`` on uint8 ``images`` ``[F, H, W, C]``.

    The graph is opened at every activation ``Quant`` and ``TokenDrop``: what PyTorch computed there goes in,
    and what the graph computes next is compared. Both sides compute in float64, where the order of a sum
    does not show. ``end_to_end`` images also run closed, in float32, through qonnx.
    """
    opened = _OpenedGraph(model)
    frozen.double()
    try:
        values, near_ties, reason = _compare_all(opened, frozen, images)
    finally:
        frozen.float()
    largest, scale = _end_to_end(frozen, model, images[:end_to_end])
    return GateReport(values, near_ties, reason, largest, scale, min(end_to_end, len(images)))


def _compare_all(opened: _OpenedGraph, frozen: PrunedViT, images: np.ndarray) -> tuple[int, int, str]:
    """Values compared, differences beside a tie, and the first failure."""
    values = near_ties = 0
    reason = ""
    for index, image in enumerate(images):
        batch = torch.from_numpy(image[None].astype(np.float64))
        wanted = record(frozen, batch)
        reached = opened.run(batch.numpy(), wanted)
        for name, (before, after) in reached.items():
            near, problem = _compare(opened.nodes[name], before, after, wanted[name])
            values, near_ties = values + after.size, near_ties + near
            reason = reason or (f"image {index}, {name}: {problem}" if problem else "")
        for node in opened.drops:
            problem = _compare_drop(node, wanted)
            reason = reason or (f"image {index}, {node.name}: {problem}" if problem else "")
        if reason:
            break
    return values, near_ties, reason


@torch.no_grad()
def record(frozen: PrunedViT, images: torch.Tensor) -> dict[str, np.ndarray]:
    """What PyTorch computes: quantiser outputs by module name; ``.x``, ``.s`` and output of a TokenDrop."""
    found: dict[str, np.ndarray] = {}

    def hook(name: str, module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        found[f"{name}.quant" if isinstance(module, IntLayerNorm | Turn) else name] = output.numpy()
        if isinstance(module, DropTokens):
            found[f"{name}.x"], found[f"{name}.s"] = args[0].numpy(), args[1].numpy()

    kinds = (ActQuant, IntLayerNorm, Turn, DropTokens)
    modules = [(name, m) for name, m in frozen.named_modules() if isinstance(m, kinds)]
    with hooked(m.register_forward_hook(partial(hook, name)) for name, m in modules):
        found["logits"] = frozen(images).numpy()
    return found


class _OpenedGraph:
    """The graph cut at its activation quantisers and token drops, as one onnxruntime session in float64."""

    def __init__(self, model: ModelWrapper) -> None:
        graph = model.graph
        constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self.nodes, self.drops, inner, made = {}, [], [], {}
        for node in graph.node:
            if node.op_type == "Quant" and all(i in constants for i in node.input):
                constants[node.output[0]] = _quantise(node, constants[node.input[0]], constants)
            elif node.op_type == "Quant":
                self.nodes[node.name.removesuffix(".Quant")] = (node, constants)
            elif node.op_type == "TokenDrop":
                self.drops.append(node)
            else:
                inner.append(node)
                made.update(dict.fromkeys(node.output))
        for node, _ in list(self.nodes.values()):
            if node.input[0] in constants:
                raise AssertionError(f"{node.name} quantises a constant that was not folded")
        self._feeds = {n.output[0]: key for key, (n, _) in self.nodes.items()}
        self._feeds.update({n.output[0]: n.name.removesuffix(".TokenDrop") for n in self.drops})
        sources = {n.input[0] for n, _ in self.nodes.values()} | {n.input[1] for n in self.drops}
        self._sources = sorted(sources & set(made))
        used = {i for n in inner for i in n.input}
        self._inputs = sorted(used & (set(self._feeds) | {v.name for v in graph.input}))
        double = TensorProto.DOUBLE
        opened = helper.make_graph(
            [wide for node in inner for wide in in_double(node)],
            "opened",
            [helper.make_tensor_value_info(i, double, model.get_tensor_shape(i)) for i in self._inputs],
            [helper.make_tensor_value_info(o, double, None) for o in self._sources],
            [numpy_helper.from_array(widened(v), k) for k, v in constants.items() if k in used],
        )
        proto = helper.make_model(opened, opset_imports=[o for o in model.model.opset_import if o.domain == ""])
        proto.ir_version = 10
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])

    def run(self, images: np.ndarray, wanted: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Per activation quantiser: its input and its output, all upstream values being PyTorch's."""
        feeds = {i: wanted[self._feeds[i]] if i in self._feeds else images for i in self._inputs}
        values = dict(zip(self._sources, self._session.run(self._sources, feeds), strict=True))
        values |= {name: wanted[key] for name, key in self._feeds.items()} | {"images": images}
        return {key: (values[n.input[0]], _quantise(n, values[n.input[0]], constants)) for key, (n, constants) in self.nodes.items()}


def _attribute(node, name: str, default):
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _quantise(node, x: np.ndarray, constants: dict[str, np.ndarray]) -> np.ndarray:
    scale, zero, bits = (constants[i].astype(np.float64) for i in node.input[1:4])
    mode = _attribute(node, "rounding_mode", b"ROUND").decode()
    result = quant(x, scale, zero, bits, _attribute(node, "signed", 1), _attribute(node, "narrow", 0), mode)
    return np.asarray(result)


def _compare(opened, before: np.ndarray, after: np.ndarray, wanted: np.ndarray) -> tuple[int, str]:
    """Differences beside a tie, and the first one elsewhere as text."""
    node, constants = opened
    scale = float(constants[node.input[1]])
    before = before.astype(np.float64) / scale
    ours, theirs = np.rint(after.astype(np.float64) / scale), np.rint(wanted.astype(np.float64) / scale)
    differs = ours != theirs
    if not differs.any():
        return 0, ""
    bad = differs & ~numerics.beside_tie(before, ours, theirs)
    if not bad.any():
        return int(differs.sum()), ""
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    return int(differs.sum()), (
        f"{int(bad.sum())} of {bad.size} codes differ; at {list(where)} the graph has {ours[where]:.0f} "
        f"(before rounding {before[where]:.5f}), PyTorch {theirs[where]:.0f}"
    )


def _compare_drop(node, wanted: dict[str, np.ndarray]) -> str:
    key = node.name.removesuffix(".TokenDrop")
    context = {node.input[0]: wanted[f"{key}.x"], node.input[1]: wanted[f"{key}.s"]}
    getCustomOp(node).execute_node(context, None)
    if np.array_equal(np.float32(context[node.output[0]]), np.float32(wanted[key])):
        return ""
    return "the tokens that TokenDrop returns differ from PyTorch's"


@torch.no_grad()
def _end_to_end(frozen: PrunedViT, model: ModelWrapper, images: np.ndarray) -> tuple[float, float]:
    largest = scale = 0.0
    for image in images:
        batch = image[None].astype(np.float32)
        ours = execute_onnx(model, {model.graph.input[0].name: batch})[model.graph.output[0].name]
        theirs = frozen(torch.from_numpy(batch)).numpy()
        largest, scale = (max(largest, float(np.abs(ours - theirs).max())), max(scale, float(np.abs(theirs).max())))
    return largest, scale
