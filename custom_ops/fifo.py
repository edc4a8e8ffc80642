"""Stream FIFO."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.base import StreamOp
from finn_vitprune.custom_ops.memory import Estimate, fifo_ram, ram_estimate
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend


class VitFIFO(StreamOp):
    """x ``[tokens, channels]`` unchanged, up to ``depth`` beats held back.

    ``ram_style`` auto: LUTRAM up to 64 beats or 1,024 bits, block RAM beyond.
    """

    is_buffer = True
    ATTRIBUTES = {
        "depth": ("i", True, 0),
        "ram_style": ("s", False, "auto", {"auto", "block", "distributed", "ultra"}),
    }

    def verify_node(self) -> list[str]:
        """Raise UserError for a depth that the unit does not hold; an empty list when all is well."""
        depth = self.get_nodeattr("depth")
        self.require(depth >= 1, f"depth {depth} is not possible: use 1 or more")
        return []

    def compute(self, x: np.ndarray) -> list[np.ndarray]:
        return [x.copy()]

    def resources(self) -> Estimate:
        """LUTRAM or deep RAMs with their multiplexer, the two pointers and the fill count."""
        depth, width = self.get_nodeattr("depth"), self.source.width
        if depth <= 2:
            return Estimate(LUT=width + 5)
        words, width, style = fifo_ram(depth, width, self.get_nodeattr("ram_style"))
        pointer = max(1, (words - 1).bit_length())
        control = 3 * pointer // 2 + 6 if words == 1 << pointer else 3 * pointer + 7
        return ram_estimate(words, width, style) + Estimate(LUT=control)


class VitFIFO_rtl(VitRTLBackend, VitFIFO):
    """RTL of :class:`VitFIFO`."""

    RTL_TOP = "vp_stream_fifo"

    def rtl_parameters(self) -> dict[str, int | str]:
        return {
            "WIDTH": self.source.width,
            "DEPTH": self.get_nodeattr("depth"),
            "STYLE": self.get_nodeattr("ram_style"),
        }
