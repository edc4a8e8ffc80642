"""The result of a check, as data: a row for every node, the structure, the size, the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finn_vitprune.complexity.formulas import Complexity
from finn_vitprune.graph.reason import Refusal
from finn_vitprune.models.config import EncoderShape, Pooling, ViTConfig

EMBEDDING, CLASSIFIER = "embedding", "classifier"


@dataclass(frozen=True)
class Row:
    """One node of the file: what it becomes in hardware, or the reason why it does not.

    place: "embedding", "encoder 3", "classifier", or empty where the structure does not tell.
    alone: what it would be by itself, where only a node that it depends on is at fault.
    """

    node: str
    op_type: str
    place: str
    becomes: str
    reason: str = ""
    help: str = ""
    alone: str = ""

    @property
    def maps(self) -> bool:
        """Whether the node has a place in hardware (or none is needed)."""
        return not self.reason

    @property
    def depends(self) -> bool:
        """Whether it does not map only because of what it depends on."""
        return self.reason.startswith("depends on ")


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

    def sentence(self) -> str:
        """The structure in words."""
        height, width, channels = self.image
        tokens = ("no class token", "class token", "class and distillation token")[self.prefix]
        return (
            f"images {height} x {width} x {channels}, patch size {self.patch_size}, width {self.dim}, "
            f"depth {self.depth}, heads {_range(self.heads)} of {self.head_dim}, MLP width "
            f"{_range(self.mlp_widths)}, "
            f"tokens {_range(self.tokens)} ({tokens}), pooling {self.pooling}, {self.classes} classes"
        )


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Checked:
    """What ``check`` found in a file.

    kind: "float", "QDQ" or "QONNX". refusals: every reason, the deciding one first. notes: what changes on
    the way, though it maps.
    """

    model: str
    kind: str
    opset: int
    rows: tuple[Row, ...]
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

    @property
    def constants(self) -> int:
        """Number of nodes that map and are constants: nothing is left of them to build."""
        return sum(row.becomes.startswith("constants") for row in self.rows)

    def verdict(self) -> str:
        """The answer in a sentence, with the command that comes next."""
        if self.passed and self.kind == "QONNX":
            return f"yes: `finn-vitprune build {self.model}` takes this file to HDL"
        if self.passed:
            command = f"`finn-vitprune import {self.model}`"
            return f"yes: {command} takes this {self.kind} file in, `build` its result"
        verb = "build" if self.kind == "QONNX" else "import"
        return f"no: `{verb}` does not take this {self.kind} file: {self.refusals[0]}"
