"""The element-wise operators of ONNX as functions of arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from finn_vitprune.graph.node import Node

Array = np.ndarray


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return np.maximum(x, 0)


def softsign(x: np.ndarray) -> np.ndarray:
    """x / (1 + |x|)."""
    return x / (1.0 + np.abs(x))


def mish(x: np.ndarray) -> np.ndarray:
    """x tanh(log(1 + exp(x)))."""
    return x * np.tanh(np.log1p(np.exp(x)))


def hard_swish(x: np.ndarray) -> np.ndarray:
    """x max(0, min(1, x / 6 + 1 / 2))."""
    return x * np.clip(x / 6.0 + 0.5, 0.0, 1.0)


def erf(x: np.ndarray) -> np.ndarray:
    """The error function."""
    return special.erf(np.asarray(x, dtype=np.float64))


def gelu(x: np.ndarray) -> np.ndarray:
    """x Phi(x)."""
    return 0.5 * x * (1.0 + erf(x / np.sqrt(2.0)))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """The tanh form of GELU."""
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + np.exp(-x))


def _number(node: Node, name: str, default: float) -> float:
    return float(node.attributes.get(name, default))


UNARY: dict[str, Callable[[Node], Callable[[Array], Array]]] = {
    "Neg": lambda node: np.negative,
    "Abs": lambda node: np.abs,
    "Exp": lambda node: np.exp,
    "Log": lambda node: np.log,
    "Sqrt": lambda node: np.sqrt,
    "Reciprocal": lambda node: lambda x: 1.0 / x,
    "Erf": lambda node: erf,
    "Tanh": lambda node: np.tanh,
    "Sigmoid": lambda node: sigmoid,
    "Relu": lambda node: relu,
    "LeakyRelu": lambda node: lambda x: np.where(x < 0, _number(node, "alpha", 0.01) * x, x),
    "Elu": lambda node: lambda x: np.where(x > 0, x, _number(node, "alpha", 1.0) * np.expm1(x)),
    "HardSigmoid": lambda node: lambda x: np.clip(_number(node, "alpha", 0.2) * x + _number(node, "beta", 0.5), 0, 1),
    "HardSwish": lambda node: hard_swish,
    "Softplus": lambda node: lambda x: np.log1p(np.exp(x)),
    "Softsign": lambda node: softsign,
    "Mish": lambda node: mish,
    "Swish": lambda node: lambda x: x * sigmoid(_number(node, "alpha", 1.0) * x),
    "QuickGelu": lambda node: lambda x: x * sigmoid(_number(node, "alpha", 1.702) * x),
    "Gelu": lambda node: gelu_tanh if node.attributes.get("approximate", "none") == "tanh" else gelu,
    "FastGelu": lambda node: gelu_tanh,
}
"""Operators of one tensor by their names: the function of a node. Float files, QONNX and tables in hardware all know these."""


def unary(node: Node) -> Callable[[Array], Array]:
    """The element-wise function of a node of :data:`UNARY`."""
    return UNARY[node.op_type](node)


BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Min": np.minimum,
    "Max": np.maximum,
}
