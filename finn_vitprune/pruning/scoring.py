"""What decides which blocks and neurons stay, by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.choices import Score
from finn_vitprune.pruning.scores import PruneScores, set_to_first_order
from finn_vitprune.pruning.second_order import set_to_second_order

Correction = Callable[[PrunedViT, Sequence[EncoderMask]], None]
"""Changes the weights of a network that masks keep, so that they make up for the others."""


def set_scores(
    scores: PruneScores, kind: Score, network: PrunedViT, images: Tensor, labels: Tensor | None = None, seed: int = 0
) -> Correction:
    """Set the scores of all encoders.

    Args:
        network: in float and unpruned; images: ``[F, H, W, C]``, and labels ``[F]`` where there are some, which the first-order
            score alone reads.

    Returns:
        For copies of the network: the update of second-order pruning; other scores come with none, and change nothing.
    """
    if kind is Score.SECOND_ORDER:
        return set_to_second_order(scores, network, images, seed).correct
    if kind is Score.FIRST_ORDER:
        set_to_first_order(scores, network, images, labels, seed)
    else:
        scores.set_to_magnitude(network)
    return lambda student, masks: None
