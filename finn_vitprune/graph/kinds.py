"""How an ONNX file holds its numbers, by its op types."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

QONNX_OPS = frozenset({"Quant", "IntQuant", "FloatQuant", "BipolarQuant", "Trunc", "TokenDrop"})
QDQ_OPS = frozenset({"QuantizeLinear", "DequantizeLinear"})


class Kind(Enum):
    """How a file holds its numbers."""

    FLOAT = "float"
    QDQ = "QDQ"
    QONNX = "QONNX"

    @classmethod
    def of(cls, op_types: Iterable[str]) -> Kind:
        """The kind of a graph with these ops."""
        found = frozenset(op_types)
        if found & QONNX_OPS:
            return cls.QONNX
        return cls.QDQ if found & QDQ_OPS else cls.FLOAT
