"""The list of ops: registers them with FINN and builds their nodes."""

from __future__ import annotations

import importlib

import finn.custom_op.fpgadataflow as fpgadataflow
import finn.custom_op.fpgadataflow.rtl as fpgadataflow_rtl
from onnx import NodeProto, helper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.base import VitOp

DOMAIN = "finn.custom_op.fpgadataflow"

OPS: dict[str, str] = {
    "VitFork": "fork",
    "VitAdd": "add",
    "VitSplit": "split",
    "VitSelectToken": "select_token",
    "VitTokenEmbed": "token_embed",
    "VitLookup": "lookup",
    "VitRequant": "requant",
    "VitFIFO": "fifo",
    "VitWidthConverter": "width_converter",
    "VitCrossing": "crossing",
    "VitFrameCheck": "frame_check",
    "VitLoadPort": "load_port",
    "VitLoadEnd": "load_end",
    "VitLayerNorm": "layernorm",
    "VitTokenDrop": "token_drop",
    "VitTokenMean": "token_mean",
    "PrunedAttention": "pruned_attention",
    "BlockSparseMVAU": "block_sparse_mvau",
    "VitEngine": "engine",
    "VitSwitch": "switch",
    "VitMerge": "switch",
    "VitEngineEntry": "engine_ports",
    "VitEngineExit": "engine_ports",
}
"""Op type to module: the registry line of each op."""


def register_ops() -> None:
    """Register all :data:`OPS`, each with its RTL class. Idempotent."""
    for op_type, name in OPS.items():
        module = importlib.import_module(f"finn_vitprune.custom_ops.{name}")
        register(getattr(module, op_type), getattr(module, f"{op_type}_rtl"))


def register(op: type, rtl: type) -> None:
    """Make ``op`` and ``rtl`` (class name = op type, ``rtl`` ends in ``_rtl``) ops of FINN's two domains."""
    if rtl.__name__ != f"{op.__name__}_rtl":
        raise ValueError(f"the RTL class of {op.__name__} must be called {op.__name__}_rtl, not {rtl.__name__}")
    fpgadataflow.register_custom_op(op)
    fpgadataflow_rtl.register_custom_op(rtl)


def hardware_op(node: NodeProto) -> VitOp | None:
    """The op of a hardware node; None for a node of the host."""
    return getCustomOp(node) if node.domain.startswith(DOMAIN) else None


def make_node(op_type: str, inputs: list[str], outputs: list[str], name: str = "", **attributes) -> NodeProto:
    """A hardware node of this project's op ``op_type`` (``*_rtl`` goes to FINN's RTL domain)."""
    domain = f"{DOMAIN}.rtl" if op_type.endswith("_rtl") else DOMAIN
    return helper.make_node(
        op_type, inputs, outputs, name=name, domain=domain, backend="fpgadataflow", **attributes
    )
