"""Stream fork: one tensor for two consumers."""

from __future__ import annotations

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.base import VitOp
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend
from finn_vitprune.sim.beats import Stream


class VitFork(VitOp):
    """Two copies of x ``[tokens, channels]``, every beat once to each consumer."""

    def get_nodeattr_types(self) -> dict:
        return super().get_nodeattr_types() | {
            "tokens": ("i", True, 0),
            "channels": ("i", True, 0),
            "SIMD": ("i", False, 1),
            "inputDataType": ("s", True, ""),
        }

    def _stream(self) -> Stream:
        get = self.get_nodeattr
        return Stream(get("tokens"), get("channels"), get("SIMD"), DataType[get("inputDataType")])

    def in_streams(self) -> list[Stream]:
        return [self._stream()]

    def out_streams(self) -> list[Stream]:
        return [self._stream(), self._stream()]

    def compute(self, x: np.ndarray) -> list[np.ndarray]:
        return [x.copy(), x.copy()]

    def get_exp_cycles(self) -> int:
        return self._stream().beats

    def lut_estimation(self, fpgapart: str) -> int:
        """One LUT per bit of the input register, and the handshake."""
        return self._stream().width + 9


class VitFork_rtl(VitRTLBackend, VitFork):
    """RTL of :class:`VitFork`."""

    RTL_TOP = "vp_stream_fork"

    def rtl_parameters(self) -> dict[str, int | str]:
        return {"WIDTH": self._stream().width}
