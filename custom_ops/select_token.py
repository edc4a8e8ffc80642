"""Token selection: one token of each frame goes on (the class token, in the last encoder)."""

from __future__ import annotations

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.base import VitOp
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend
from finn_vitprune.sim.beats import Stream


class VitSelectToken(VitOp):
    """y ``[1, channels]`` = x[index] of x ``[tokens, channels]``; the other tokens are taken and dropped."""

    def get_nodeattr_types(self) -> dict:
        return super().get_nodeattr_types() | {
            "tokens": ("i", True, 0),
            "channels": ("i", True, 0),
            "index": ("i", False, 0),
            "SIMD": ("i", False, 1),
            "inputDataType": ("s", True, ""),
        }

    def _stream(self, tokens: int) -> Stream:
        get = self.get_nodeattr
        return Stream(tokens, get("channels"), get("SIMD"), DataType[get("inputDataType")])

    def in_streams(self) -> list[Stream]:
        return [self._stream(self.get_nodeattr("tokens"))]

    def out_streams(self) -> list[Stream]:
        return [self._stream(1)]

    def compute(self, x: np.ndarray) -> list[np.ndarray]:
        index = self.get_nodeattr("index")
        return [x[..., index : index + 1, :].copy()]

    def get_exp_cycles(self) -> int:
        return self.in_streams()[0].beats

    def lut_estimation(self, fpgapart: str) -> int:
        """One LUT per bit of the input register, the beat counter and the handshake."""
        stream = self.in_streams()[0]
        return stream.width + (stream.beats - 1).bit_length() + 9


class VitSelectToken_rtl(VitRTLBackend, VitSelectToken):
    """RTL of :class:`VitSelectToken`."""

    RTL_TOP = "vp_select_token"

    def rtl_parameters(self) -> dict[str, int | str]:
        stream = self.in_streams()[0]
        return {
            "WIDTH": stream.width,
            "TOKENS": stream.tokens,
            "TOKEN_BEATS": stream.channels // stream.simd,
            "INDEX": self.get_nodeattr("index"),
        }
