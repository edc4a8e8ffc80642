"""The element-wise operators of ONNX as functions of arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from finn_vitprune.graph.node import Node

Array = np.ndarray


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


def unary(node: Node) -> Callable[[Array], Array] | None:
    """The element-wise function of a node with one tensor input, or None."""
    approximate = node.attributes.get("approximate", "none")
    alpha = float(node.attributes.get("alpha", 0.01 if node.op_type == "LeakyRelu" else 1.0))
    beta = float(node.attributes.get("beta", 0.5))
    table: dict[str, Callable[[Array], Array]] = {
        "Neg": np.negative,
        "Abs": np.abs,
        "Exp": np.exp,
        "Log": np.log,
        "Sqrt": np.sqrt,
        "Reciprocal": lambda x: 1.0 / x,
        "Erf": erf,
        "Tanh": np.tanh,
        "Sigmoid": sigmoid,
        "Relu": lambda x: np.maximum(x, 0),
        "LeakyRelu": lambda x: np.where(x < 0, alpha * x, x),
        "Elu": lambda x: np.where(x > 0, x, alpha * np.expm1(x)),
        "HardSigmoid": lambda x: np.clip(node.attributes.get("alpha", 0.2) * x + beta, 0, 1),
        "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        "Softplus": lambda x: np.log1p(np.exp(x)),
        "Mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
        "Swish": lambda x: x * sigmoid(alpha * x),
        "QuickGelu": lambda x: x * sigmoid(node.attributes.get("alpha", 1.702) * x),
        "Gelu": gelu_tanh if approximate == "tanh" else gelu,
        "FastGelu": gelu_tanh,
    }
    return table.get(node.op_type)


BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Min": np.minimum,
    "Max": np.maximum,
}
