"""The file of a trained pruned network, as what a student starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from torch import Tensor

from finn_vitprune.errors import UserError
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.graph.reading import read_qonnx
from finn_vitprune.models.config import MlpActivation, ViTConfig
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import grow
from finn_vitprune.pruning.scores import PruneScores

SETTING = "student.weights"
QUANT = ".Quant"
"""What the name of a quantiser's node ends with, behind that of its module."""
ACTIVATION_OPS = {
    MlpActivation.GELU: ["Gelu"], MlpActivation.GELU_TANH: ["Gelu tanh"], MlpActivation.QUICK_GELU: ["Mul", "Mul", "Sigmoid"],
    MlpActivation.SILU: ["Mul", "Sigmoid"], MlpActivation.RELU: ["Relu"], MlpActivation.SIGMOID: ["Sigmoid"],
}  # fmt: skip
"""What activations are in ONNX."""
KNOWN_OPS = {op.split()[0] for ops in ACTIVATION_OPS.values() for op in ops}


def trained_network(path: Path, dense: ViTConfig, prune: PruneConfig) -> PrunedViT:
    """The small network of a QONNX file, packed or not, that this package wrote; its activation scales are not read.

    Args:
        dense: what it was pruned from. Bits and token drops may be others than the file's.
        prune: block size and keep rates, those of the file.
    Raises:
        UserError: it cannot be read, or another network was pruned, or it was pruned otherwise, in one line.
    """
    try:
        proto = read_qonnx(path)
        said = ModelMetadata.read(ModelWrapper(proto))
    except UserError as error:
        raise UserError(f"{SETTING}: {error}") from error
    _check_same(path, said, dense, prune)
    shapes = (replace(s, heads=h, neurons=n) for s, h, n in zip(dense.encoders, said.heads, said.neurons, strict=True))
    small = PrunedViT(dense.with_encoders(tuple(shapes)))
    _check_structure(path, proto, small)
    _load(small, proto, path)
    return small


def _check_same(path: Path, said: ModelMetadata, dense: ViTConfig, prune: PruneConfig) -> None:
    shape = (dense.image_size, dense.image_size, dense.channels)
    wholes = [(s.heads, s.neurons) for s in dense.encoders]
    if (said.classes, said.image_shape) != (dense.classes, shape):
        found, own = (
            f"{c} classes of images of {h} x {w} x {d}" for c, (h, w, d) in ((said.classes, said.image_shape), (dense.classes, shape))
        )
        raise UserError(f"{SETTING}: {path} has {found}, this run {own}")
    if len(said.heads) != len(wholes):
        raise UserError(f"{SETTING}: {path} has {len(said.heads)} encoders, this run's network {len(wholes)}")
    for i, (h, n, (H, N)) in enumerate(zip(said.heads, said.neurons, wholes), start=1):
        if h > H or n > N:
            raise UserError(
                f"{SETTING}: {path} is not a part of this run's network: its encoder {i} has {h} heads and {n} neurons, here {H} and {N}"
            )
    settings = (
        ("block_size", said.block_size, prune.block_size),
        ("block_keep", said.block_keep, float(prune.block_keep)),
        ("neuron_keep", said.neuron_keep, float(prune.neuron_keep)),
    )
    for name, there, here in settings:
        if there != here:
            raise UserError(f"{SETTING}: {path} was pruned with {name} {there:g}, and prune.{name} is {here:g}: use {there:g}")


def _check_structure(path: Path, proto: ModelProto, small: PrunedViT) -> None:
    """The file quantises what ``small`` does, at the same places, and has its norms and its activation."""
    quantised = {node.name.removesuffix(QUANT) for node in proto.graph.node if node.name.endswith(QUANT)}
    found, wanted = {name for name in quantised if not name.endswith(".weight_quant")}, set(small.quantizers())
    if found != wanted:
        other, here = sorted(found - wanted), sorted(wanted - found)
        parts = [f"{text} {names[0]}" for text, names in (("it has", other), ("it lacks", here)) if names]
        raise UserError(f"{SETTING}: {path} is a network of another structure than this run's: {' and '.join(parts)}")
    config = small.config
    if config.norm.centred != any(node.op_type == "LayerNormalization" for node in proto.graph.node):
        raise UserError(f"{SETTING}: the norms of {path} are of another kind than this run's (model.norm)")
    if _activation(proto) != (wanted_ops := sorted([*ACTIVATION_OPS[config.activation], *(["Mul"] if config.gated else [])])):
        raise UserError(f"{SETTING}: {path} has another activation than this run's {config.activation.text} ({', '.join(wanted_ops)})")


def _activation(proto: ModelProto) -> list[str]:
    """The ops between the two layers of the first MLP."""
    ops = []
    for node in proto.graph.node:
        if node.name.startswith("blocks.0.mlp.") and node.op_type in KNOWN_OPS:
            form = next((a.s.decode() for a in node.attribute if a.name == "approximate"), "")
            ops.append(f"{node.op_type} {form}" if form == "tanh" else node.op_type)
    return sorted(ops)


@torch.no_grad()
def _load(small: PrunedViT, proto: ModelProto, path: Path) -> None:
    """Weights and biases, tokens and positions by their names."""
    wanted: dict[str, Tensor] = {"prefix_tokens": small.prefix_tokens, "pos_embed": small.pos_embed}
    wanted |= {f"{name}.{part}": getattr(layer, part) for name, layer in small.linears().items() for part in ("weight", "bias")}
    if small.config.pooler is not None:
        wanted["attn_pool.query"] = small.attn_pool.query
    found = {tensor.name: tensor for tensor in proto.graph.initializer}
    for name, target in wanted.items():
        if not target.numel():
            continue
        if name not in found:
            raise UserError(f"{SETTING}: {path} has no {name}")
        values = numpy_helper.to_array(found[name])
        if values.shape != tuple(target.shape):
            raise UserError(f"{SETTING}: {path}: {name} is {list(values.shape)}, this run's {list(target.shape)}")
        target.copy_(torch.from_numpy(np.array(values)))


def start_from(path: Path, student: PrunedViT, scores: PruneScores) -> None:
    """Give ``student`` the weights of :func:`trained_network`, and ``scores`` 1 for what it keeps, 0 for the rest.

    Raises:
        UserError: as there, or ``scores`` cannot keep what it keeps.
    """
    small = trained_network(path, student.config, scores.prune)
    grow(small, student)
    scores.set_to_kept(student, [s.neurons for s in small.config.encoders])
    for i, (block, mask) in enumerate(zip(student.blocks, scores.final_masks(), strict=True)):
        layers = ((block.attn.qkv.weight, mask.qkv), (block.attn.proj.weight, mask.proj), (block.mlp.fc2.weight, mask.neurons))
        if any(bool((weight * (1 - m)).any()) for weight, m in layers):
            raise UserError(f"{SETTING}: {path} keeps more of encoder {i + 1} than this run's prune section would")
