"""The list of ops: registers them with FINN and builds their nodes."""

from __future__ import annotations

import functools
import importlib

import finn.custom_op.fpgadataflow as fpgadataflow
import finn.custom_op.fpgadataflow.rtl as fpgadataflow_rtl
from finn.transformation.fpgadataflow.set_folding import SetFolding
from finn.util.exception import FINNUserError
from onnx import NodeProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.op.base import VitOp

DOMAIN = "finn.custom_op.fpgadataflow"

OPS: dict[str, str] = {
    "VitFork": "streams.fork",
    "VitAdd": "elementwise.add",
    "VitSplit": "streams.split",
    "VitSelectToken": "tokens.select_token",
    "VitTokenEmbed": "tokens.token_embed",
    "VitLookup": "elementwise.lookup",
    "VitGate": "elementwise.gate",
    "VitRequant": "elementwise.requant",
    "VitRotary": "elementwise.rotary",
    "VitFIFO": "streams.fifo",
    "VitWidthConverter": "streams.width_converter",
    "VitCrossing": "streams.crossing",
    "VitFrameCheck": "loading.frame_check",
    "VitLoadPort": "loading.load_port",
    "VitLoadEnd": "loading.load_end",
    "VitLayerNorm": "layernorm.layernorm",
    "VitTokenDrop": "token_drop.token_drop",
    "VitTokenMean": "tokens.token_mean",
    "PrunedAttention": "attention.pruned_attention",
    "BlockSparseMVAU": "mvau.block_sparse_mvau",
    "VitEngine": "engine.engine",
    "VitSwitch": "engine.switch",
    "VitMerge": "engine.switch",
    "VitTagFork": "engine.switch",
    "VitArray": "engine.array",
    "VitEngineEntry": "engine.ports",
    "VitEngineExit": "engine.ports",
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


def keep_from_set_folding() -> None:
    """Let FINN's ``SetFolding`` refuse these ops: it knows ops by lists of its own, and leaves others as they are. Idempotent."""
    if hasattr(SetFolding.apply, "__wrapped__"):
        return

    @functools.wraps(SetFolding.apply)
    def apply(self: SetFolding, model: ModelWrapper) -> tuple[ModelWrapper, bool]:
        if ours := [node for node in model.graph.node if node.op_type.removesuffix("_rtl") in OPS]:
            raise FINNUserError(
                f"SetFolding, which FINN's step_target_fps_parallelization runs, does not fold {ours[0].name or ours[0].op_type}, an op of "
                "finn-vitprune: leave it out, finn_vitprune.builds.steps.step_fold folds for the same target"
            )
        return apply.__wrapped__(self, model)

    SetFolding.apply = apply


def hardware_op(node: NodeProto) -> VitOp | None:
    """The op of a hardware node; None for a node of the host."""
    return getCustomOp(node) if node.domain.startswith(DOMAIN) else None


def make_node(op_type: str, inputs: list[str], outputs: list[str], name: str = "", **attributes) -> NodeProto:
    """A hardware node of this project's op ``op_type`` (``*_rtl`` goes to FINN's RTL domain)."""
    domain = f"{DOMAIN}.rtl" if op_type.endswith("_rtl") else DOMAIN
    return helper.make_node(op_type, inputs, outputs, name=name, domain=domain, backend="fpgadataflow", **attributes)
