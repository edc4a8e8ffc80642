"""Gradients of random projections of the logits: what an error of any value does to the output, without labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from finn_vitprune import progress
from finn_vitprune.models.vit import EncoderMask, PrunedViT

EQUAL = 0.5
"""Share of a token's weight that does not hang on its gradients: no token counts as nothing, and the few that the output hangs on,
the class tokens of the last encoders, do not decide alone what is fitted to a few hundred images."""


def weights_by(energy: Tensor) -> Tensor:
    """Weights of tokens, 1 on average over those given, by the squares of their gradients."""
    return EQUAL + (1 - EQUAL) * energy / energy.mean().clamp(min=1e-30)


def backward_of_projections(
    network: PrunedViT, images: Tensor, batch: int, what: str, seed: int = 0, masks: Sequence[EncoderMask] | None = None
) -> None:
    """Run ``images`` ``[F, H, W, C]``, and backward from normal projections of their logits; hooks read what they need.

    The mean square of such a gradient is the squared norm of the logits' derivative.

    Args:
        batch: images at once; what: begins the status. No gradients are left in ``network``.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for start in range(0, len(images), batch):
            progress.status(f"{what}: {start} of {len(images)} images")
            output = network(images[start : start + batch].to(network.pos_embed.device), masks)
            (output * torch.randn(output.shape, generator=generator).to(output.device)).sum().backward()
            network.zero_grad(set_to_none=True)
