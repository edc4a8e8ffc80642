"""What travels with a model file besides its graph: pruning, shapes, and the unpruned network's size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.block_mask import BlockMask
from finn_vitprune.complexity.formulas import Complexity
from finn_vitprune.errors import UserError
from finn_vitprune.files import parse_json
from finn_vitprune.graph.reading import read_proto

SIZES = ("macs_dense", "macs_pruned", "macs", "params_dense", "params", "index_bits", "tokens", "heads", "neurons")

OPTIONAL = ("macs_pruned", "outer_bits")
"""Fields that files of older versions lack."""


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata of an exported model, one ONNX metadata property a field (JSON except ``name``).

    name, classes, image_shape (H, W, C); block_size, block_keep, neuron_keep: as asked for;
    token_keep: rate by encoder (from 1); drop_points: k by encoder; tokens: per encoder {"in", "mlp"};
    heads, neurons: live per encoder; residual_scale; weight_bits, act_bits; outer_bits: of the weights of patch
    embedding and classifier, None: as weight_bits;
    macs_dense, macs, params_dense, params, index_bits: as :class:`Complexity` has them;
    kept_blocks: mask of each matrix ``blocks.<i>.<q|k|v|proj>`` (inputs by outputs), stored as
    :meth:`BlockMask.pack` writes it; macs_pruned: as :class:`Complexity` has it, None in older files.
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
    macs_pruned: int | None = None
    outer_bits: int | None = None

    def write(self, model: ModelWrapper) -> None:
        """Store every field in the model's metadata."""
        for field, value in vars(self).items():
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=BlockMask.pack)
            model.set_metadata_prop(field, text)

    @classmethod
    def load(cls, path: Path | str) -> ModelMetadata:
        """The metadata of the model file at ``path``.

        Raises:
            UserError: no such file, it is not an ONNX file, or it was not exported by this package.
        """
        return cls.read(ModelWrapper(read_proto(Path(path))))

    @classmethod
    def read(cls, model: ModelWrapper) -> ModelMetadata:
        """The metadata of a model file.

        Raises:
            UserError: the file has none, or a part is missing.
        """
        found: dict[str, Any] = {}
        for field in cls.__dataclass_fields__:
            text = model.get_metadata_prop(field)
            if text is None and field in OPTIONAL:
                continue
            if text is None:
                raise UserError(f"the model file has no {field} in its metadata: it was not exported by finn-vitprune")
            found[field] = text if field == "name" else parse_json(text, f"metadata {field} of the model file")
        found["image_shape"] = tuple(found["image_shape"])
        found["kept_blocks"] = {name: BlockMask.unpack(mask, found["block_size"]) for name, mask in found["kept_blocks"].items()}
        return cls(**found)

    def sizes(self) -> dict[str, object]:
        """Operations, parameters and shapes: the part "complexity" of metrics and reports."""
        return {name: getattr(self, name) for name in SIZES}

    def complexity(self) -> Complexity:
        """The same as figures of a :class:`Complexity`. ``macs_pruned`` must be known."""
        assert self.macs_pruned is not None
        tokens = tuple((t["in"], t["mlp"]) for t in self.tokens)
        return Complexity(
            self.macs_dense, self.macs_pruned, self.macs, self.params_dense, self.params, self.index_bits, tokens, tuple(self.heads)
        )
