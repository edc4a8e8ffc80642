"""Residual add: saturating sum of two streams."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.op.base import StreamOp
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.numerics import int_range
from finn_vitprune.sim.beats import Stream


class VitAdd(StreamOp):
    """y = clip(a + b) element by element; a, b and y ``[tokens, channels]`` of one signed type (INT16)."""

    token_wise = True
    ATTRIBUTES = {"inputDataType": ("s", False, "INT16")}

    def in_streams(self) -> list[Stream]:
        return [self.source, self.source]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        a, b = inputs
        return [np.clip(a + b, *int_range(self.source.dtype.bitwidth(), signed=True))]

    def saturations(self, a: np.ndarray, b: np.ndarray) -> int:
        """How many sums of ``a`` and ``b`` leave the range and are clipped."""
        return int(np.count_nonzero(self.compute(a, b)[0] != a + b))

    def resources(self) -> Estimate:
        """Per bit: two input registers, the sum and its saturation; and the handshake."""
        return Estimate(LUT=4 * self.source.width + self.source.simd + 14)


class VitAdd_rtl(VitRTLBackend, VitAdd):
    """RTL of :class:`VitAdd`."""

    RTL_TOP = "vp_stream_add"

    def rtl_parameters(self) -> dict[str, int | str]:
        return {"SIMD": self.source.simd, "BITS": self.source.dtype.bitwidth()}
