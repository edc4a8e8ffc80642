"""The result of a check, as data: an answer for every node, the structure, the size (in words: ``texts``)."""

from __future__ import annotations

from dataclasses import dataclass

from finn_vitprune.complexity.formulas import Complexity
from finn_vitprune.ingest.onnx_file.model_file import Kind
from finn_vitprune.graph.reason import Refusal
from finn_vitprune.models.config import EncoderShape, Pooling, ViTConfig

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

    refusal: Refusal


@dataclass(frozen=True)
class Behind:
    """The node depends on a rejected node. ``alone``: what it would be by itself, None where that is not known."""

    cause: Refusal
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
    """The vision transformer that was found; ``tokens`` at the input of every encoder."""

    image: tuple[int, int, int]
    patch_size: int
    dim: int
    head_dim: int
    heads: tuple[int, ...]
    mlp_widths: tuple[int, ...]
    tokens: tuple[int, ...]
    prefix: int
    pooling: str
    classes: int

    @property
    def depth(self) -> int:
        """Number of encoders."""
        return len(self.heads)

    def config(self) -> ViTConfig:
        """The same as the models of this project have it, without token drops."""
        return ViTConfig(
            image_size=self.image[0],
            channels=self.image[2],
            patch_size=self.patch_size,
            dim=self.dim,
            head_dim=self.head_dim,
            classes=self.classes,
            encoders=tuple(EncoderShape(h, m) for h, m in zip(self.heads, self.mlp_widths, strict=True)),
            prefix=self.prefix,
            pooling=Pooling(self.pooling),
        )


@dataclass(frozen=True)
class Checked:
    """What ``check`` found in a file.

    refusals: every reason, the deciding one first. notes: what changes on the way, though it maps.
    """

    model: str
    kind: Kind
    opset: int
    rows: tuple[CheckRow, ...]
    refusals: tuple[Refusal, ...]
    structure: Structure | None
    complexity: Complexity | None
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the file can be built (QONNX), or imported and then built (float, QDQ)."""
        return not self.refusals

    @property
    def mapped(self) -> int:
        """Number of nodes that map."""
        return sum(row.maps for row in self.rows)

    def count(self, answer: type[Answer]) -> int:
        """Number of nodes with an answer of this kind."""
        return sum(isinstance(row.answer, answer) for row in self.rows)
