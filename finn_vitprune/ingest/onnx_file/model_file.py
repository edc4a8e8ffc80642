"""An ONNX file as plain data: nodes in order, constants as arrays, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from finn_vitprune.graph.node import Node


class Kind(Enum):
    """How a file holds its numbers."""

    FLOAT = "float"
    QDQ = "QDQ"
    QONNX = "QONNX"


@dataclass(frozen=True)
class Tensor:
    """A graph input or output; ``None`` for a dimension that is not fixed, or a shape that is not given."""

    name: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class ModelFile:
    """A file that is sound as a graph: every tensor has one producer, which comes before its readers.

    constants: initialisers by name; floating-point ones are float32 or float64. bytes: of file and weights.
    """

    path: Path
    opset: int
    kind: Kind
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
