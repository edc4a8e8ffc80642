"""What decides which blocks and neurons stay, by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from finn_vitprune.errors import UserError
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.choices import Score
from finn_vitprune.pruning.layers import LayerErrors
from finn_vitprune.pruning.scores import PruneScores, set_to_first_order
from finn_vitprune.pruning.second_order import set_to_second_order

Correction = Callable[[PrunedViT, Sequence[EncoderMask]], None]
"""Changes the weights of a network that masks keep, so that they make up for the others."""


@dataclass(frozen=True)
class Scored:
    """What scores come with.

    Attributes:
        correct: for copies of the network: the update of second-order pruning; of other scores it changes nothing.
        errors: what each layer loses, by second-order pruning; None of other scores.
    """

    correct: Correction
    errors: LayerErrors | None = None


def set_scores(
    scores: PruneScores,
    kind: Score,
    network: PrunedViT,
    images: Tensor,
    labels: Tensor | None = None,
    seed: int = 0,
    by_layer: bool = False,
) -> Scored:
    """Set the scores of all encoders.

    Args:
        network: in float and unpruned; images: ``[F, H, W, C]``, and labels ``[F]`` where there are some, which the first-order
            score alone reads.
        by_layer: give every layer a share of its own, which second-order pruning alone can tell.
    Raises:
        UserError: shares by layer, by another score.
    """
    if by_layer and kind is not Score.SECOND_ORDER:
        raise UserError(f"shares by layer come from second-order scores, not from {kind.value}: use second-order, or equal shares")
    if kind is Score.SECOND_ORDER:
        second, errors = set_to_second_order(scores, network, images, seed, by_layer)
        return Scored(second.correct, errors)
    if kind is Score.FIRST_ORDER:
        set_to_first_order(scores, network, images, labels, seed)
    else:
        scores.set_to_magnitude(network)
    return Scored(lambda student, masks: None)
