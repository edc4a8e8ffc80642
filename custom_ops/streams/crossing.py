"""Register chain where a stream goes from one die (super logic region, SLR) to another, or has a long way in one."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.op.base import StreamOp
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend

HOP_CONTROL = 3
"""LUTs of a hop besides one for each bit, as Yosys maps it."""


class VitCrossing(StreamOp):
    """x ``[tokens, channels]`` unchanged, ``stages`` cycles later.

    Every stage registers valid, data and ready, and holds two beats where the output stalls.
    """

    token_wise = True
    is_crossing = True
    ATTRIBUTES = {"stages": ("i", True, 0)}

    def verify_node(self) -> list[str]:
        """Raise UserError for a chain that the unit does not build; an empty list when all is well."""
        stages = self.get_nodeattr("stages")
        self.require(stages >= 1, f"stages {stages} is not possible: use 1 or more")
        return []

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return [inputs[0].copy()]

    def beat_cycles(self) -> int:
        """One for each stage."""
        return self.get_nodeattr("stages")

    def held_tokens(self) -> int:
        """A beat in every stage, as long as the output does not stall."""
        return -(-self.get_nodeattr("stages") // self.source.token_beats)

    def resources(self) -> Estimate:
        """Those of all stages."""
        return self.get_nodeattr("stages") * self.hop()

    def hop(self) -> Estimate:
        """One stage: a multiplexer bit for each bit, and the handshake."""
        return Estimate(LUT=self.source.width + HOP_CONTROL)


class VitCrossing_rtl(VitRTLBackend, VitCrossing):
    """RTL of :class:`VitCrossing`."""

    RTL_TOP = "vp_crossing"

    def rtl_parameters(self) -> dict[str, int | str]:
        return {"WIDTH": self.source.width, "STAGES": self.get_nodeattr("stages")}

    def reset_bits(self) -> int:
        """A bit for each hop, since hops may be in several SLRs."""
        return self.get_nodeattr("stages")
