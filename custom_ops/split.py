"""Channel split: the first channels of each token to one stream, the rest to another."""

from __future__ import annotations

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.base import VitOp
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend
from finn_vitprune.sim.beats import Stream


class VitSplit(VitOp):
    """y0 = x[:, :first], y1 = x[:, first:] of x ``[tokens, channels]``; SIMD divides both parts."""

    def get_nodeattr_types(self) -> dict:
        return super().get_nodeattr_types() | {
            "tokens": ("i", True, 0),
            "channels": ("i", True, 0),
            "first": ("i", True, 0),
            "SIMD": ("i", False, 1),
            "inputDataType": ("s", True, ""),
        }

    def _stream(self, channels: int) -> Stream:
        get = self.get_nodeattr
        return Stream(get("tokens"), channels, get("SIMD"), DataType[get("inputDataType")])

    def in_streams(self) -> list[Stream]:
        return [self._stream(self.get_nodeattr("channels"))]

    def out_streams(self) -> list[Stream]:
        first = self.get_nodeattr("first")
        return [self._stream(first), self._stream(self.get_nodeattr("channels") - first)]

    def compute(self, x: np.ndarray) -> list[np.ndarray]:
        first = self.get_nodeattr("first")
        return [x[..., :first].copy(), x[..., first:].copy()]

    def get_exp_cycles(self) -> int:
        return self.in_streams()[0].beats

    def burst_tokens(self) -> int:
        """One: while one part of a token passes, the reader of the other lives on what it has."""
        return 1

    def lut_estimation(self, fpgapart: str) -> int:
        """One LUT per bit of the input register, the beat counter and the handshake."""
        stream = self.in_streams()[0]
        return stream.width + (stream.channels // stream.simd - 1).bit_length() + 9


class VitSplit_rtl(VitRTLBackend, VitSplit):
    """RTL of :class:`VitSplit`."""

    RTL_TOP = "vp_stream_split"

    def rtl_parameters(self) -> dict[str, int | str]:
        stream, first = self.in_streams()[0], self.out_streams()[0]
        return {
            "WIDTH": stream.width,
            "TOKEN_BEATS": stream.channels // stream.simd,
            "FIRST_BEATS": first.channels // first.simd,
        }
