"""The metadata of a network that is about to be exported."""

from __future__ import annotations

from finn_vitprune.complexity.formulas import counted
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.freeze import kept_block_masks
from finn_vitprune.models.vit import PrunedViT


def describe(
    name: str,
    dense: ViTConfig,
    frozen: PrunedViT,
    block: int,
    block_keep: float,
    neuron_keep: float,
    token_keep: float,
) -> ModelMetadata:
    """Metadata of a frozen small network that was pruned from the shapes ``dense``."""
    small = frozen.config
    masks = kept_block_masks(frozen, block)
    cost = counted(dense, small, masks)
    drops = {str(i): s.keep for i, s in enumerate(small.encoders, start=1) if s.keep is not None}
    return ModelMetadata(
        name=name,
        classes=small.classes,
        image_shape=(small.image_size, small.image_size, small.channels),
        block_size=block,
        block_keep=block_keep,
        neuron_keep=neuron_keep,
        token_keep=dict.fromkeys(drops, token_keep),
        drop_points=drops,
        tokens=[{"in": n, "mlp": m} for n, m in small.token_counts()],
        heads=[s.heads for s in small.encoders],
        neurons=[s.neurons for s in small.encoders],
        residual_scale=frozen.residual_scale.number,
        weight_bits=small.weight_bits,
        act_bits=small.act_bits,
        macs_dense=cost.macs_dense,
        macs=cost.macs,
        params_dense=cost.params_dense,
        params=cost.params,
        index_bits=cost.index_bits,
        kept_blocks=masks,
    )
