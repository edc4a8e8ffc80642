"""Which blocks of a weight matrix are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np

ATTENTION = ("q", "k", "v", "proj")
"""The matrices of an encoder that are pruned in blocks."""


class PackedMask(TypedDict):
    """A :class:`BlockMask` as JSON has it: block rows, block columns, and a bitmap in hex."""

    rows: int
    columns: int
    map: str


@dataclass(frozen=True, eq=False)
class BlockMask:
    """The kept blocks of one matrix ``[inputs, outputs]``.

    Attributes:
        grid: bool ``[block rows, block columns]``, true where the block is kept.
        block: rows and columns of a block; blocks at the lower and right edge may be cut short.
    """

    grid: np.ndarray
    block: int

    @classmethod
    def of(cls, weights: np.ndarray, block: int) -> BlockMask:
        """The blocks of ``weights`` that have a non-zero entry."""
        tiles = pad_to_block(weights, block)
        rows, columns = (side // block for side in tiles.shape)
        return cls((tiles.reshape(rows, block, columns, block) != 0).any(axis=(1, 3)), block)

    @classmethod
    def unpack(cls, packed: PackedMask, block: int) -> BlockMask:
        """The mask that :meth:`pack` made."""
        rows, columns = int(packed["rows"]), int(packed["columns"])
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(str(packed["map"])), np.uint8))
        return cls(bits[: rows * columns].reshape(rows, columns).astype(bool), block)

    def pack(self) -> PackedMask:
        """Block rows, block columns, and a bitmap in hex: row-major, first block in the highest bit."""
        rows, columns = self.grid.shape
        return {"rows": rows, "columns": columns, "map": np.packbits(self.grid).tobytes().hex()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockMask) and (self.block, self.pack()) == (other.block, other.pack())

    def __hash__(self) -> int:
        return hash((self.block, self.grid.shape, self.grid.tobytes()))

    @property
    def kept(self) -> int:
        """Kept blocks of the matrix."""
        return int(self.grid.sum())

    @property
    def column_counts(self) -> list[int]:
        """Kept blocks of each block column."""
        return self.grid.sum(axis=0).tolist()

    def elements(self, shape: tuple[int, int]) -> int:
        """Weights in the kept blocks of a matrix of ``shape``, without what lies beyond its edges."""
        heights, widths = (
            np.minimum(self.block, side - self.block * np.arange(count)) for side, count in zip(shape, self.grid.shape, strict=True)
        )
        return int(heights @ self.grid @ widths)


def pad_to_block(weights: np.ndarray, block: int) -> np.ndarray:
    """``[MW, MH]`` weights zero-padded so that ``block`` divides both sides."""
    weights = np.asarray(weights)
    return np.pad(weights, [(0, -side % block) for side in weights.shape])


def attention_masks(encoder: int, qkv: np.ndarray, proj: np.ndarray, block: int) -> dict[str, BlockMask]:
    """Kept blocks of W_q, W_k, W_v and W_proj of one encoder, by ``blocks.<encoder>.<q|k|v|proj>``.

    Args:
        qkv: weights or codes ``[3 H D', D]`` (outputs by inputs, as PyTorch stores them); proj: ``[D, H D']``.
    """
    parts = zip(ATTENTION, [*np.split(qkv, 3), proj], strict=True)
    return {f"blocks.{encoder}.{name}": BlockMask.of(part.T, block) for name, part in parts}
