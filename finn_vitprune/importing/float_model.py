"""The recognised network as this project's model in float, and the file's own function on its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from finn_vitprune.ingest.recognise.recognised import RecognisedViT
from finn_vitprune.models.timm_weights import load_timm
from finn_vitprune.models.vit import PrunedViT


def float_network(vit: RecognisedViT, mean: Sequence[float], std: Sequence[float]) -> PrunedViT:
    """The network in float on uint8 images ``[B, H, W, C]`` (as floats), in evaluation mode.

    Args:
        mean, std: of pixels / 255, one a channel; what the file's input is normalised with.
    """
    network = PrunedViT(vit.config)
    load_timm(network, _state(vit), mean, std)
    network.quantise(False)
    return network.eval()


def _state(vit: RecognisedViT) -> dict[str, Tensor]:
    """timm's state dict."""
    return {name: torch.from_numpy(np.array(array, np.float32)) for name, array in vit.weights.items()}


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
