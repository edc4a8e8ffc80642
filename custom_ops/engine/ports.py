"""Where frames enter an engine and leave it, and go round for their next encoder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.custom_ops.op.load_chain import LoadedBackend
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.beats import Stream


class EnginePort(VitOp):
    """One end of an engine. ``tokens``: rows of a frame of each encoder, as it passes here; ``batch``: frames that go through together;
    ``most_tokens``: rows that it is made for at least.
    """

    ATTRIBUTES = {
        "tokens": ("ints", True, []),
        "most_tokens": ("i", False, 0),
        "channels": ("i", True, 0),
        "SIMD": ("i", False, 1),
        "inputDataType": ("s", False, "INT16"),
        "batch": ("i", False, 1),
    }

    @property
    def stream(self) -> Stream:
        """The largest frame."""
        get = self.get_nodeattr
        return Stream(max(get("most_tokens"), *get("tokens")), get("channels"), get("SIMD"), DataType[get("inputDataType")])

    def of_encoder(self, encoder: int) -> Stream:
        """A frame of an encoder, from 0."""
        return replace(self.stream, tokens=self.get_nodeattr("tokens")[encoder])

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Not of one frame alone: what passes here next depends on the frames that passed before."""
        raise NotImplementedError(f"{self.onnx_node.op_type} has no meaning outside of its engine")

    def port_luts(self) -> int:
        """Beats left, their table by encoder, the batch, two skids and a choice of a bit each, tags."""
        encoders, beats = len(self.get_nodeattr("tokens")), self.stream.beats.bit_length()
        return 3 * self.stream.width + 2 * beats + -(-encoders // 6) * beats + 4 * clog2(encoders) + 40


class EnginePortBackend(LoadedBackend):
    """RTL half of ``vp_engine_entry`` and ``vp_engine_exit``."""

    def rtl_parameters(self) -> dict[str, int | str]:
        return {
            "WIDTH": self.stream.width,
            "ENCODERS": len(self.get_nodeattr("tokens")),
            "BEAT_BITS": self.stream.beats.bit_length(),
            **self.load_parameters(),
        }

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """Beats of a frame."""
        return {"beats": [(self.of_encoder(e).beats,) for e in range(len(self.get_nodeattr("tokens")))]}

    def widen(self, other: EnginePort) -> None:
        self.set_nodeattr("most_tokens", max(self.stream.tokens, other.stream.tokens))


COUNT_LUTS = 48
"""Of the count of beats in the FIFO, 32 bits, and its comparison with those of a frame."""


class VitEngineEntry(EnginePort):
    """Lets frames into an engine, from outside (input 0) and back from its exit (input 1); the tags say which is which.

    Frames from outside wait in a FIFO of a batch between output 1 and input 2: a further one of a batch begins when it is whole in there.
    """

    def in_streams(self) -> list[Stream]:
        return [self.stream, self.stream, self.of_encoder(0)]

    def out_streams(self) -> list[Stream]:
        return [self.stream, self.of_encoder(0), TAGS]

    def tag_ports(self) -> tuple[int, int]:
        return 0, 1

    def resources(self) -> Estimate:
        return Estimate(LUT=self.port_luts() + 2 * self.stream.width + COUNT_LUTS)


class VitEngineEntry_rtl(EnginePortBackend, VitEngineEntry):
    """RTL of :class:`VitEngineEntry`."""

    RTL_TOP = "vp_engine_entry"
    RTL_OUTPUTS = 2

    def rtl_parameters(self) -> dict[str, int | str]:
        return {**super().rtl_parameters(), "BATCH": self.get_nodeattr("batch")}


class VitEngineExit(EnginePort):
    """Frames of the last encoder leave the engine (output 0), all others go back to its entry (output 1)."""

    def in_streams(self) -> list[Stream]:
        return [self.stream, TAGS]

    def out_streams(self) -> list[Stream]:
        return [self.stream, self.stream]

    def tag_ports(self) -> tuple[int, int]:
        return 1, 0

    def resources(self) -> Estimate:
        return Estimate(LUT=self.port_luts())


class VitEngineExit_rtl(EnginePortBackend, VitEngineExit):
    """RTL of :class:`VitEngineExit`."""

    RTL_TOP = "vp_engine_exit"

    def tag_queue(self) -> tuple[int, int]:
        return len(self.get_nodeattr("tokens")), 2 * self.get_nodeattr("batch")
