"""Sentences for operators that have no place in a vision transformer encoder of this hardware."""

from __future__ import annotations

from finn_vitprune.graph.node import Node

CONVOLUTIONAL = "use a plain ViT or DeiT: of convolutions, only the patch embedding has a place in the hardware"
_FUSED = ("it is an operator that ONNX Runtime's optimiser made", "give the file from before that optimisation")

REASONS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("Loop", "Scan", "NonZero", "SequenceAt", "SequenceConstruct", "NonMaxSuppression"),
        ("the graph has control flow that depends on data", "export with fixed shapes, or trace the model"),
    ),
    **dict.fromkeys(
        ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear",
         "QLinearAdd", "QGemm", "QAttention", "QLinearSoftmax", "DynamicQuantizeMatMul", "MatMulNBits"),
        ("it works on integers of a quantised-operator file",
         "quantise in QDQ form (QuantizeLinear and DequantizeLinear around float operators), or give the float model"),
    ),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), ("recurrent layers have no hardware here", "use a plain ViT or DeiT")),
    **dict.fromkeys(
        ("InstanceNormalization", "GroupNormalization"),
        ("it normalises over one channel or a group of them: LayerNorm and RMSNorm are here", "use a plain ViT or DeiT"),
    ),
    "RotaryEmbedding": (
        "rotary position embedding",
        "the hardware adds learned positions once, before the first encoder",
    ),
    "Gather": (
        "it looks rows up by computed numbers, as a text model does with words",
        "one image in is supported",
    ),
}  # fmt: skip


IMAGE_OPS = frozenset(
    "MaxPool AveragePool LpPool GlobalMaxPool ConvTranspose DepthToSpace SpaceToDepth Upsample Resize Pad RoiAlign DeformConv".split()
)
"""Ops of convolutional networks."""


def why_not(node: Node) -> tuple[str, str]:
    """Reason and help for a node that no rule takes."""
    if node.domain == "com.microsoft":
        return REASONS.get(node.op_type, _FUSED)
    if node.domain.startswith("finn."):
        return "it is a hardware op of FINN, the file is lowered", "give the QONNX file that `build` takes"
    if node.domain not in ("", "ai.onnx", "ai.onnx.ml"):
        return (f"operator {node.op_type} of domain {node.domain} is not known here", "export the model with standard ONNX operators")
    if node.op_type in IMAGE_OPS:
        return f"{node.op_type}{_sizes(node)} is a part of convolutional networks", CONVOLUTIONAL
    return REASONS.get(node.op_type, (f"{node.op_type} of a computed tensor has no place in a ViT encoder", ""))


def _sizes(node: Node) -> str:
    """Kernel and stride, where the node has them."""
    named = (("kernel", "kernel_shape"), ("stride", "strides"), ("mode", "mode"))
    parts = [f"{name} {node.attributes[key]}" for name, key in named if key in node.attributes]
    return f" ({', '.join(parts)})" if parts else ""
