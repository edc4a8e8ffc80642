"""Residual add: saturating sum of two streams."""

from __future__ import annotations

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.base import VitOp
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend
from finn_vitprune.numerics import int_range
from finn_vitprune.sim.beats import Stream


class VitAdd(VitOp):
    """y = clip(a + b) element by element; a, b and y ``[tokens, channels]`` of one signed type (INT16)."""

    def get_nodeattr_types(self) -> dict:
        return super().get_nodeattr_types() | {
            "tokens": ("i", True, 0),
            "channels": ("i", True, 0),
            "SIMD": ("i", False, 1),
            "inputDataType": ("s", False, "INT16"),
        }

    def _stream(self) -> Stream:
        get = self.get_nodeattr
        return Stream(get("tokens"), get("channels"), get("SIMD"), DataType[get("inputDataType")])

    def in_streams(self) -> list[Stream]:
        return [self._stream(), self._stream()]

    def out_streams(self) -> list[Stream]:
        return [self._stream()]

    def compute(self, a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        return [np.clip(a + b, *int_range(self._stream().dtype.bitwidth(), signed=True))]

    def saturations(self, a: np.ndarray, b: np.ndarray) -> int:
        """How many sums of ``a`` and ``b`` leave the range and are clipped."""
        return int(np.count_nonzero(self.compute(a, b)[0] != a + b))

    def get_exp_cycles(self) -> int:
        return self._stream().beats

    def lut_estimation(self, fpgapart: str) -> int:
        """Per bit: two input registers, the sum and its saturation; and the handshake."""
        return 4 * self._stream().width + self._stream().simd + 14


class VitAdd_rtl(VitRTLBackend, VitAdd):
    """RTL of :class:`VitAdd`."""

    RTL_TOP = "vp_stream_add"

    def rtl_parameters(self) -> dict[str, int | str]:
        return {"SIMD": self._stream().simd, "BITS": self._stream().dtype.bitwidth()}
