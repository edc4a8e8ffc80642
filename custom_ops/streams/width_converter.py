"""Stream width conversion between ops of different folding."""

from __future__ import annotations

import math

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.sim.beats import Stream


class VitWidthConverter(VitOp):
    """x ``[tokens, channels]`` unchanged, ``in_simd`` elements a beat in, ``out_simd`` out.

    When neither divides the other the stream goes through beats of their least common multiple.
    """

    is_converter = True
    ATTRIBUTES = {
        "tokens": ("i", True, 0),
        "channels": ("i", True, 0),
        "in_simd": ("i", True, 0),
        "out_simd": ("i", True, 0),
        "inputDataType": ("s", True, ""),
    }

    def _stream(self, attribute: str) -> Stream:
        get = self.get_nodeattr
        return Stream(get("tokens"), get("channels"), get(attribute), DataType[get("inputDataType")])

    def in_streams(self) -> list[Stream]:
        return [self._stream("in_simd")]

    def out_streams(self) -> list[Stream]:
        return [self._stream("out_simd")]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return [inputs[0].copy()]

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """A wider beat waits for the narrow ones that it is made of; of one that is taken apart the last part leaves last."""
        gathered, parts = (self._common() // self.get_nodeattr(side) - 1 for side in ("in_simd", "out_simd"))
        times = TokenTimes(tuple(t + gathered for t in inputs[0].first), tuple(t + parts for t in inputs[0].last))
        return [times.served(self.out_streams()[0].token_beats, self.beat_cycles())]

    def beat_cycles(self) -> int:
        """The input register and that of the wider beats; of beats of which none divides the other, two."""
        return 2 if self._common() in (self.get_nodeattr("in_simd"), self.get_nodeattr("out_simd")) else 3

    def _common(self) -> int:
        return math.lcm(self.get_nodeattr("in_simd"), self.get_nodeattr("out_simd"))

    def resources(self) -> Estimate:
        """Per bit: input register, and the shift register where it loads a wide word; counters."""
        source, out_simd, common = self.in_streams()[0], self.get_nodeattr("out_simd"), self._common()
        loaded = out_simd if source.simd == out_simd else common - out_simd
        return Estimate(LUT=source.width + loaded * source.dtype.bitwidth() + 8)

    def made_of(self) -> UnitParts:
        source, target, common = self.in_streams()[0], self.out_streams()[0], self._common() * self.in_streams()[0].dtype.bitwidth()
        return UnitParts.of("width", {"one": 1, "bits": source.width, "held": common, "shifted": common - target.width})


class VitWidthConverter_rtl(VitRTLBackend, VitWidthConverter):
    """RTL of :class:`VitWidthConverter`."""

    RTL_TOP = "vp_stream_width"

    def rtl_parameters(self) -> dict[str, int | str]:
        return {
            "IN_SIMD": self.get_nodeattr("in_simd"),
            "OUT_SIMD": self.get_nodeattr("out_simd"),
            "COMMON": self._common(),
            "BITS": self.in_streams()[0].dtype.bitwidth(),
        }
