"""Quantised files: weights are taken at their dequantised values, quantisers of activations drop out."""

from __future__ import annotations

import numpy as np

from finn_vitprune.graph.node import Node
from finn_vitprune.graph.reason import Reason
from finn_vitprune.graph.rules import Rules, constant, optional
from finn_vitprune.graph.values import Const
from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.normal_form.terms import View

RULES = Rules()
ROUNDING = ("ROUND", "HALF_EVEN")


@RULES.rule("QuantizeLinear DequantizeLinear", View)
@RULES.rule("Quant IntQuant", View)
def activation(state: Normaliser, node: Node, values: list):
    return values[0]


@RULES.rule("DequantizeLinear", Const)
def dequantise(state: Normaliser, node: Node, values: list):
    codes = np.asarray(values[0].value)
    scale, zero = _along_axis(node, values, codes)
    return Const(((codes.astype(np.float32) - zero) * scale).astype(np.float32))


@RULES.rule("QuantizeLinear", Const)
def quantise(state: Normaliser, node: Node, values: list):
    array = np.asarray(values[0].value, np.float32)
    scale, zero = _along_axis(node, values, array)
    kind = optional(node, values, 2)
    target = np.dtype(np.uint8) if kind is None else kind.dtype
    if target.kind not in "iu":
        raise Reason(f"codes of kind {target} are not read: use integer codes")
    limits = np.iinfo(target)
    return Const(np.clip(np.rint(array / scale) + zero, limits.min, limits.max).astype(target))


def _along_axis(node: Node, values: list, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point, one a tensor or one an entry of the axis, shaped for broadcasting."""
    scale, zero = constant(node, values, 1), optional(node, values, 2)
    zero = np.zeros(1, np.float32) if zero is None else zero
    if node.attributes.get("block_size", 0):
        raise Reason(f"block_size {node.attributes['block_size']}: scales per tensor or per axis are read")
    shape = [1] * array.ndim
    if scale.size > 1:
        shape[node.attributes.get("axis", 1)] = -1
    else:
        shape = []
    return (np.asarray(a, np.float32).reshape(shape if a.size > 1 else []) for a in (scale, zero))


@RULES.rule("Quant IntQuant", Const)
def fake_quantise(state: Normaliser, node: Node, values: list):
    """QONNX's quantiser on a constant: rounded half to even, clipped, scaled back."""
    array = np.asarray(values[0].value, np.float32)
    scale, zero, bits = (np.asarray(constant(node, values, i), np.float32) for i in (1, 2, 3))
    mode = str(node.attributes.get("rounding_mode", "ROUND")).upper()
    if mode not in ROUNDING:
        raise Reason(f"rounding mode {mode}: codes are rounded half to even (ROUND)")
    signed, narrow = node.attributes.get("signed", 1), node.attributes.get("narrow", 0)
    low = -(2.0 ** (bits - 1)) + (1 if narrow else 0) if signed else np.float32(0.0)
    high = 2.0 ** (bits - 1) - 1 if signed else 2.0**bits - 1 - (1 if narrow else 0)
    codes = np.clip(np.rint(array / scale + zero), low, high)
    return Const(((codes - zero) * scale).astype(np.float32))
