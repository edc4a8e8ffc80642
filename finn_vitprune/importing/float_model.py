"""The recognised network as this project's model in float, and how far it is from the file itself in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from finn_vitprune.ingest.check.file_run import file_input, run_file
from finn_vitprune.ingest.onnx_file.model_file import Kind
from finn_vitprune.ingest.recognise.network import RecognisedViT
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.timm_weights import load_timm
from finn_vitprune.models.vit import PrunedViT


def float_network(vit: RecognisedViT, mean: Sequence[float], std: Sequence[float]) -> PrunedViT:
    """The network in float on uint8 images ``[B, H, W, C]`` (as floats), in evaluation mode.

    Args:
        mean, std: of pixels / 255, one a channel; what the file's input is normalised with.
    """
    network = PrunedViT(vit.config)
    weights = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in vit.weights.items()}
    load_timm(network, weights, mean, std)
    network.quantise(False)
    return network.eval()


def configured(network: PrunedViT, config: ViTConfig) -> PrunedViT:
    """A copy in float and evaluation mode, of another configuration: other token drops or bits."""
    copy = PrunedViT(config).to(network.pos_embed.device)
    copy.load_state_dict(network.state_dict())
    copy.quantise(False)
    return copy.eval()


@torch.no_grad()
def as_in_file(network: PrunedViT, vit: RecognisedViT, images: Tensor) -> Tensor:
    """Logits ``[B, classes]`` of the file's own form, with what import replaces still in place.

    For a network that import takes as it is, this is ``network(images)``.
    """
    if not vit.changes:
        return network(images)
    x = network.embed(images)
    for block in network.blocks:
        x = x + block.attn(block.norm1(x), None, want_scores=False)[0]
        hidden = F.gelu(block.mlp.fc1(block.norm2(x)), approximate="none" if vit.gelu == "exact" else "tanh")
        x = x + block.mlp.fc2(hidden)
    return _classify(network, vit, x)


def _classify(network: PrunedViT, vit: RecognisedViT, x: Tensor) -> Tensor:
    """Pooling and classifiers of the file on the last residual sum ``[B, N, D]``."""
    logits = network.head(network.pooled(x)).flatten(1)
    if not vit.distilled_head:
        return logits
    w = {k: torch.from_numpy(np.array(v, np.float32)).to(x.device) for k, v in vit.weights.items()
         if k.startswith(("norm.", "head_dist."))}  # fmt: skip
    second = network.norm(x[:, 1]) * w["norm.weight"] + w["norm.bias"]
    return (logits + F.linear(second, w["head_dist.weight"], w["head_dist.bias"])) / 2


TOLERANCE = 1e-4


@dataclass(frozen=True)
class Comparison:
    """The imported float network against the file in onnxruntime.

    images: how many were compared; largest: the largest difference of an output; scale: the largest output
    of the file.
    """

    images: int
    largest: float
    scale: float

    @property
    def relative(self) -> float:
        """The largest difference in units of the largest output."""
        return self.largest / self.scale if self.scale else self.largest


def compare(
    path: Path,
    kind: Kind,
    vit: RecognisedViT,
    network: PrunedViT,
    images: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
) -> Comparison:
    """Run file and network on uint8 ``images`` ``[F, H, W, C]``; QDQ files without activation quantisers.

    Args:
        network: from :func:`finn_vitprune.importing.float_model.float_network`, at ``mean`` and ``std``.
    Raises:
        UserError: onnxruntime cannot run the file.
    """
    inputs = file_input(vit, images, mean, std)
    theirs = run_file(path, kind, vit, inputs, torch.get_num_threads())
    device = network.pos_embed.device
    ours = as_in_file(network, vit, torch.from_numpy(images).float().to(device)).cpu()
    if vit.probabilities:
        ours = ours.softmax(-1)
    largest = float(np.abs(ours.numpy() - theirs).max())
    return Comparison(len(images), largest, float(np.abs(theirs).max()))
