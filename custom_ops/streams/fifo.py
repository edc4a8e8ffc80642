"""Stream FIFO."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.op.base import FoldedOp, StreamOp
from finn_vitprune.custom_ops.op.fifo_folding import FifoFolding
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend


class VitFIFO(FoldedOp, StreamOp):
    """x ``[tokens, channels]`` unchanged, up to ``depth`` beats held back.

    ``ram_style`` auto: LUTRAM up to 64 beats or 1,024 bits, block RAM beyond. The read registers of the RAM are part
    of the ``depth``. A deep FIFO is in several parts, which hold the next multiple of their number.
    """

    is_buffer = True
    ram_holds = "the beats"
    ATTRIBUTES = {"depth": ("i", True, 0), "ram_style": ("s", False, "auto", {"auto", "block", "distributed", "ultra"})}

    def verify_node(self) -> list[str]:
        """Raise UserError for a depth that the unit does not hold; an empty list when all is well."""
        depth = self.get_nodeattr("depth")
        self.require(depth >= 1, f"depth {depth} is not possible: use 1 or more")
        return []

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return [inputs[0].copy()]

    def beat_cycles(self) -> int:
        """A write, and the registers of a read, in each part; a register alone where the beats are in two."""
        folding = self.folding()
        return folding.parts * (1 + folding.read_latency) if folding.depth > 2 else 1

    def folding(self) -> FifoFolding:
        source = self.source
        return FifoFolding(self.get_nodeattr("depth"), source.width, source.beats, self.get_nodeattr("ram_style"))


class VitFIFO_rtl(VitRTLBackend, VitFIFO):
    """RTL of :class:`VitFIFO`."""

    RTL_TOP = "vp_stream_fifo"

    def rtl_parameters(self) -> dict[str, int | str]:
        folding = self.folding()
        return {
            "WIDTH": folding.width, "DEPTH": folding.depth, "STYLE": folding.style, "READ_LATENCY": folding.read_latency,
            "PARTS": folding.parts,
        }  # fmt: skip
