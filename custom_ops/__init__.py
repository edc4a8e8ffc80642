"""Hardware ops: one op a file, its RTL in ``rtl/``. Importing this registers all of them with FINN."""

import importlib

from finn_vitprune import plugin

plugin.prepare()

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
    "VitLayerNorm": "layernorm",
    "VitTokenDrop": "token_drop",
    "VitTokenMean": "token_mean",
    "PrunedAttention": "pruned_attention",
    "BlockSparseMVAU": "block_sparse_mvau",
}
"""Op type to module: the registry line of each op."""


def _register_all() -> None:
    from finn_vitprune.custom_ops.registry import register

    for op_type, module_name in OPS.items():
        module = importlib.import_module(f"{__name__}.{module_name}")
        register(getattr(module, op_type), getattr(module, f"{op_type}_rtl"))


_register_all()

from finn_vitprune.custom_ops.qonnx_token_drop import TokenDrop  # noqa: E402, F401  (qonnx finds it by this module)
