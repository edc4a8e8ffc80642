"""The complexity of one model, by formula and by count; of a timm model, as it would be pruned."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from finn_vitprune.complexity import formulas, reference
from finn_vitprune.complexity.formulas import Complexity
from finn_vitprune.complexity.modules import count_model, pruned_by_score
from finn_vitprune.errors import UserError
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.timm_weights import config_of_name
from finn_vitprune.pruning.config import PruneConfig, check_block_size


@dataclass(frozen=True)
class CountedModel:
    """Complexity of one model, and how it was pruned.

    token_keep: rate by encoder (from 1); note: what a reader of the totals should know besides.
    """

    name: str
    block_size: int
    block_keep: float
    token_keep: dict[int, float]
    formula: Complexity
    count: Complexity
    note: str = ""


INDEX_BITS = "Index bits are counted for pruned matrices. A build counts all matrix units, with an end-of-column bit a block."


@dataclass(frozen=True)
class TimmPruning:
    """How a timm model is to be pruned.

    token_keep: share of tokens in the encoders ``drop_at`` (from 1); heads_removed: per encoder, empty for none.
    """

    prune: PruneConfig
    token_keep: str
    drop_at: tuple[int, ...]
    heads_removed: tuple[int, ...]

    def check(self, name: str, config: ViTConfig) -> None:
        """Block size, encoder numbers and head counts must fit the network.

        Raises:
            UserError: naming the option and its value.
        """
        check_block_size(config, self.prune.block_size)
        depth, removed = len(config.encoders), self.heads_removed
        outside = [d for d in self.drop_at if not 1 <= d <= depth]
        if outside:
            raise UserError(f"--drop-at {outside[0]}: {name} has encoders 1 to {depth}")
        if removed and len(removed) != depth:
            raise UserError(f"--heads-removed has {len(removed)} numbers, {name} has {depth} encoders: give {depth} numbers")
        for i, (count, shape) in enumerate(zip(removed, config.encoders), start=1):
            if not 0 <= count < shape.heads:
                raise UserError(
                    f"--heads-removed {count} (encoder {i}): it has {shape.heads} heads and one must stay, use 0 to {shape.heads - 1}"
                )


def of_timm(name: str, pruning: TimmPruning, as_reference: bool = False) -> CountedModel:
    """A timm model at random weights, pruned by their magnitude.

    Args:
        as_reference: count what the reference's table counts (:mod:`finn_vitprune.complexity.reference`).
    Raises:
        UserError: no such model, or options that do not fit it.
    """
    config, prune, removed = config_of_name(name), pruning.prune, pruning.heads_removed
    pruning.check(name, config)
    config = reference.distilled(config) if as_reference else config
    config = config.with_token_drop(pruning.token_keep, pruning.drop_at)
    if as_reference:
        neurons = [reference.kept_neurons(prune.neuron_keep, s.neurons) for s in config.encoders]
        formula = reference.planned(config, prune.neuron_keep, removed)
        count = reference.by_count(*pruned_by_score(config, prune, removed, neurons))
    else:
        formula = formulas.planned(config, prune, removed)
        count = count_model(*pruned_by_score(config, prune, removed), prune.block_size)
    drops = dict.fromkeys(pruning.drop_at, float(Fraction(pruning.token_keep)))
    return CountedModel(
        name, prune.block_size, float(Fraction(prune.block_keep)), drops, formula, count, "" if as_reference else INDEX_BITS
    )
