"""Scores of blocks and neurons of a float network that needs no training: by magnitude, or first-order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.scores import PruneScores, block_sums

BATCH = 32


def set_to_first_order(
    scores: PruneScores, network: PrunedViT, images: Tensor, labels: Tensor | None, seed: int = 0
) -> None:
    """Scores = sum over batches and over a block of |w dL/dw|; of a neuron, over its row and its column.

    L is the cross entropy with ``labels``. Without labels, they are drawn from the network's own softmax:
    the divergence from its own output has gradient zero, while this has the Fisher information as its square.
    Source: first-order Taylor pruning (Molchanov et al., 2019), with Fisher sampling for unlabelled data.

    Args:
        network: in float and unpruned; images: ``[F, H, W, C]``; labels: ``[F]`` or None.
    """
    generator = torch.Generator().manual_seed(seed)
    for encoder in scores.encoders:
        for target in (*encoder.matrices, encoder.neurons):
            target.data.zero_()
    for start in range(0, len(images), BATCH):
        logits = network(images[start : start + BATCH].to(network.pos_embed.device))
        if labels is None:
            chosen = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=generator).squeeze(1)
        else:
            chosen = labels[start : start + BATCH]
        network.zero_grad(set_to_none=True)
        F.cross_entropy(logits, chosen.to(logits.device)).backward()
        _accumulate(scores, network)
    network.zero_grad(set_to_none=True)


@torch.no_grad()
def _accumulate(scores: PruneScores, network: PrunedViT) -> None:
    """Add |w dL/dw| of the present gradients."""
    for target, block in zip(scores.encoders, network.blocks, strict=True):
        qkv, proj, fc1, fc2 = (
            (layer.weight * layer.weight.grad).abs()
            for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
        )
        for score, part in zip((target.q, target.k, target.v), qkv.chunk(3), strict=True):
            score += block_sums(part, target.block)
        target.proj += block_sums(proj, target.block)
        target.neurons += fc1.sum(1) + fc2.sum(0)
