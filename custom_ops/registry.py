"""Registers an op and its RTL class with FINN and qonnx, and builds the node of an op."""

from __future__ import annotations

import finn.custom_op.fpgadataflow as fpgadataflow
import finn.custom_op.fpgadataflow.rtl as fpgadataflow_rtl
from onnx import NodeProto, helper

DOMAIN = "finn.custom_op.fpgadataflow"


def register(op: type, rtl: type) -> None:
    """Make ``op`` and ``rtl`` (class name = op type, ``rtl`` ends in ``_rtl``) ops of FINN's two domains."""
    if rtl.__name__ != f"{op.__name__}_rtl":
        raise ValueError(f"the RTL class of {op.__name__} must be called {op.__name__}_rtl, not {rtl.__name__}")
    fpgadataflow.register_custom_op(op)
    fpgadataflow_rtl.register_custom_op(rtl)


def make_node(op_type: str, inputs: list[str], outputs: list[str], name: str = "", **attributes) -> NodeProto:
    """A hardware node of this project's op ``op_type`` (``*_rtl`` goes to FINN's RTL domain)."""
    domain = f"{DOMAIN}.rtl" if op_type.endswith("_rtl") else DOMAIN
    return helper.make_node(
        op_type, inputs, outputs, name=name, domain=domain, backend="fpgadataflow", **attributes
    )
