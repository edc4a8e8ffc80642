"""Stream FIFO."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.base import StreamOp
from finn_vitprune.custom_ops.memory import FIFO_MEMORY, Estimate, ram_estimate
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend


class VitFIFO(StreamOp):
    """x ``[tokens, channels]`` unchanged, up to ``depth`` beats held back.

    ``ram_style`` auto: LUTRAM up to 64 beats or 1,024 bits, block RAM beyond.
    """

    is_buffer = True

    def get_nodeattr_types(self) -> dict:
        return super().get_nodeattr_types() | {
            "depth": ("i", True, 0),
            "ram_style": ("s", False, "auto", {"auto", "block", "distributed", "ultra"}),
        }

    def compute(self, x: np.ndarray) -> list[np.ndarray]:
        return [x.copy()]

    def _style(self) -> str:
        """Where the beats are: register, distributed, block or ultra."""
        depth, style = self.get_nodeattr("depth"), self.get_nodeattr("ram_style")
        if depth <= 2:
            return "register"
        if depth == 3:
            return "distributed"
        return FIFO_MEMORY.style(depth, self.source.width, style)

    def _ram(self) -> tuple[int, int]:
        """Words and bits of the RAM; the last beats sit in output registers."""
        depth = self.get_nodeattr("depth")
        return (depth - 1 if self._style() == "distributed" else depth - 2), self.source.width

    def resources(self) -> Estimate:
        """LUTRAM or deep RAMs with their multiplexer, the two pointers and the fill count."""
        style = self._style()
        if style == "register":
            return Estimate(LUT=self.source.width + 5)
        words, width = self._ram()
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
