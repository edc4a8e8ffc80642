"""What a check answers for every node, and the structure that it finds, as data."""

from __future__ import annotations

from dataclasses import dataclass

from finn_vitprune.graph.node import Rejection
from finn_vitprune.models.config import ViTConfig

EMBEDDING, CLASSIFIER = "embedding", "classifier"


@dataclass(frozen=True)
class Mapped:
    """The node has a place in hardware, or needs none.

    unit: the hardware op, or what there is instead of one. purpose: what the unit is for; size: its shape.
    Both may be empty.
    """

    unit: str
    purpose: str = ""
    size: str = ""


@dataclass(frozen=True)
class Constant:
    """The node is a constant: nothing is left of it to build. ``use``: where the constant goes."""

    use: str


@dataclass(frozen=True)
class Rejected:
    """The node does not map for what it is, or for what a node in its body is."""

    rejection: Rejection


@dataclass(frozen=True)
class Behind:
    """The node depends on a rejected node. ``alone``: what it would be by itself, None where that is not known."""

    cause: Rejection
    alone: Mapped | Constant | None = None


Answer = Mapped | Constant | Rejected | Behind


@dataclass(frozen=True)
class CheckRow:
    """One node of the file, and what it becomes in hardware or why it does not map.

    place: :data:`EMBEDDING`, the number of an encoder (from 1), :data:`CLASSIFIER`, or None where the
    structure does not tell.
    """

    node: str
    op_type: str
    answer: Answer
    place: str | int | None = None

    @property
    def maps(self) -> bool:
        """Whether the node has a place in hardware (or none is needed)."""
        return isinstance(self.answer, Mapped | Constant)


@dataclass(frozen=True)
class Structure:
    """The vision transformer that was found, without its token drops; ``tokens`` at the input of every encoder."""

    config: ViTConfig
    tokens: tuple[int, ...]

    def as_dict(self) -> dict[str, object]:
        """The JSON form."""
        c = self.config
        return {
            "image": (c.image_size, c.image_size, c.channels),
            "patch_size": c.patch_size,
            "dim": c.dim,
            "head_dim": c.head_dim,
            "heads": tuple(e.heads for e in c.encoders),
            "mlp_widths": tuple(e.neurons for e in c.encoders),
            "tokens": self.tokens,
            "prefix": c.prefix,
            "pooling": c.pooling.value,
            "classes": c.classes,
        }
