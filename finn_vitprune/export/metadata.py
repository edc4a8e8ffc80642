"""What travels with a model file besides its graph: pruning, shapes, and the unpruned network's size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.block_mask import BlockMask, attention_masks
from finn_vitprune.complexity import formulas as complexity
from finn_vitprune.complexity.formulas import Complexity
from finn_vitprune.errors import UserError
from finn_vitprune.models.config import ViTConfig

if TYPE_CHECKING:
    from finn_vitprune.models.vit import PrunedViT


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of an exported model, one ONNX metadata property a field (JSON except ``name``).

    name, classes, image_shape (H, W, C); block_size, block_keep, neuron_keep: as asked for;
    token_keep: rate by encoder (from 1); drop_points: k by encoder; tokens: per encoder {"in", "mlp"};
    heads, neurons: live per encoder; residual_scale; weight_bits, act_bits;
    macs_dense, macs, params_dense, params, index_bits: as :class:`Complexity` has them;
    kept_blocks: mask of each matrix ``blocks.<i>.<q|k|v|proj>`` (inputs by outputs), stored as
    :meth:`BlockMask.pack` writes it.
    """

    name: str
    classes: int
    image_shape: tuple[int, int, int]
    block_size: int
    block_keep: float
    neuron_keep: float
    token_keep: dict[str, float]
    drop_points: dict[str, int]
    tokens: list[dict[str, int]]
    heads: list[int]
    neurons: list[int]
    residual_scale: float
    weight_bits: int
    act_bits: int
    macs_dense: int
    macs: int
    params_dense: int
    params: int
    index_bits: int
    kept_blocks: dict[str, BlockMask]

    def write(self, model: ModelWrapper) -> None:
        """Store every field in the model's metadata."""
        for field, value in vars(self).items():
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=BlockMask.pack)
            model.set_metadata_prop(field, text)

    @classmethod
    def read(cls, model: ModelWrapper) -> "ModelMetadata":
        """The metadata of a model file.

        Raises:
            UserError: the file has none, or a part is missing.
        """
        found = {}
        for field in cls.__dataclass_fields__:
            text = model.get_metadata_prop(field)
            if text is None:
                raise UserError(
                    f"the model file has no {field} in its metadata: it was not exported by finn-vitprune"
                )
            found[field] = text if field == "name" else json.loads(text)
        found["image_shape"] = tuple(found["image_shape"])
        found["kept_blocks"] = {
            name: BlockMask.unpack(mask, found["block_size"]) for name, mask in found["kept_blocks"].items()
        }
        return cls(**found)


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
    cost: Complexity = complexity.counted(dense, small, masks)
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


def kept_block_masks(frozen: PrunedViT, block: int) -> dict[str, BlockMask]:
    """Non-zero ``block`` x ``block`` blocks of W_q, W_k, W_v, W_proj of every encoder, inputs by outputs."""
    from finn_vitprune.models.freeze import weight_codes  # Brevitas, which reading does without

    masks = {}
    for i, encoder in enumerate(frozen.blocks):
        masks |= attention_masks(i, weight_codes(encoder.attn.qkv), weight_codes(encoder.attn.proj), block)
    return masks
