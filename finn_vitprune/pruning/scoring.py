"""What decides which blocks and neurons stay, by its name."""

from __future__ import annotations

from torch import Tensor

from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.choices import Score
from finn_vitprune.pruning.scores import PruneScores, set_to_first_order
from finn_vitprune.pruning.second_order import set_to_second_order


def set_scores(
    scores: PruneScores, kind: Score, network: PrunedViT, images: Tensor, labels: Tensor | None = None, seed: int = 0
) -> None:
    """Set the scores of all encoders.

    Args:
        network: in float and unpruned; images: ``[F, H, W, C]``, and labels ``[F]`` where there are some, which the first-order
            score alone reads.
    """
    if kind is Score.MAGNITUDE:
        scores.set_to_magnitude(network)
    elif kind is Score.FIRST_ORDER:
        set_to_first_order(scores, network, images, labels, seed)
    else:
        set_to_second_order(scores, network, images, seed)
