"""Stream fork: one tensor for two consumers."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.op.base import StreamOp
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.sim.beats import Stream


class VitFork(StreamOp):
    """Two copies of x ``[tokens, channels]``, every beat once to each consumer."""

    def out_streams(self) -> list[Stream]:
        return [self.source, self.source]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return [inputs[0].copy(), inputs[0].copy()]

    def resources(self) -> Estimate:
        """One LUT per bit of the input register, and the handshake."""
        return Estimate(LUT=self.source.width + 9)


class VitFork_rtl(VitRTLBackend, VitFork):
    """RTL of :class:`VitFork`."""

    RTL_TOP = "vp_stream_fork"

    def rtl_parameters(self) -> dict[str, int | str]:
        return {"WIDTH": self.source.width}
