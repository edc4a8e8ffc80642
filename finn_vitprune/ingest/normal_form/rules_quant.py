"""Quantised files: weights are taken at their dequantised values, quantisers of activations drop out."""

from __future__ import annotations

import numpy as np

from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules, constant
from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.normal_form.terms import View

RULES = Rules()
ROUNDING = ("ROUND", "HALF_EVEN")


@RULES.rule("QuantizeLinear DequantizeLinear", View)
@RULES.rule("Quant IntQuant", View)
def activation(state: Normaliser, node: Node, values: list):
    return values[0]


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
