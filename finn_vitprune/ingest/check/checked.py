"""The result of a check, as data: an answer for every node, the structure, the size (in words: ``texts``)."""

from __future__ import annotations

from dataclasses import dataclass

from finn_vitprune.complexity.formulas import Complexity
from finn_vitprune.graph.node import Rejection
from finn_vitprune.ingest.onnx_file.model_file import Kind
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.synth.parts import PartFit
from finn_vitprune.synth.planned import Planned

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


@dataclass(frozen=True)
class Checked:
    """What ``check`` found in a file.

    rejections: every reason, the deciding one first. notes: what changes on the way, though it maps. fit: of a QONNX
    file that builds, how it fits the part that was asked about, as ``plan`` has it.
    """

    model: str
    kind: Kind
    opset: int
    rows: tuple[CheckRow, ...]
    rejections: tuple[Rejection, ...]
    structure: Structure | None
    complexity: Complexity | None
    notes: tuple[str, ...] = ()
    fit: PartFit | None = None
    plan: Planned | None = None

    @property
    def passed(self) -> bool:
        """Whether the file can be built (QONNX; for the part, if one was named), or imported and then built (float, QDQ)."""
        return not self.rejections and not (self.fit and self.fit.short)

    @property
    def mapped(self) -> int:
        """Number of nodes that map."""
        return sum(row.maps for row in self.rows)

    def count(self, answer: type[Answer]) -> int:
        """Number of nodes with an answer of this kind."""
        return sum(isinstance(row.answer, answer) for row in self.rows)
