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

    @property
    def frame_beats(self) -> list[int]:
        """Beats of a frame, by its tag."""
        return [self.of_encoder(e).beats for e in range(len(self.get_nodeattr("tokens")))]

    def port_luts(self) -> int:
        """Beats left, their table by encoder, the batch, two skids and a choice of a bit each, tags."""
        encoders, beats = len(self.frame_beats), max(self.stream.beats, *self.frame_beats).bit_length()
        return 3 * self.stream.width + 2 * beats + -(-encoders // 6) * beats + 4 * clog2(encoders) + 40


class EnginePortBackend(LoadedBackend):
    """RTL half of ``vp_engine_entry`` and ``vp_engine_exit``."""

    def rtl_parameters(self) -> dict[str, int | str]:
        return {
            "WIDTH": self.stream.width,
            "ENCODERS": len(self.frame_beats),
            "BEAT_BITS": max(self.stream.beats, *self.frame_beats).bit_length(),
            **self.load_parameters(),
        }

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """Beats of a frame."""
        return {"beats": [(beats,) for beats in self.frame_beats]}

    def widen(self, other: EnginePort) -> None:
        self.set_nodeattr("most_tokens", max(self.stream.tokens, other.stream.tokens))


COUNT_LUTS = 48
"""Of the count of beats in the FIFO, 32 bits, and its comparison with those of a frame."""


class VitEngineEntry(EnginePort):
    """Lets frames into an engine, from outside (input 0) and back from its exit (input 1); the tags say which is which.

    Frames from outside wait in a FIFO of a batch between output 1 and input 2: a further one of a batch begins when it is whole in there.

    Where images have a pass before the encoders, ``patches`` rows of ``patch_channels`` codes come from outside, and leave at output 2;
    unsigned codes are signed there, less half their range. That pass has the last tag.
    """

    ATTRIBUTES = {
        "patches": ("i", False, 0),
        "patch_channels": ("i", False, 0),
        "patch_SIMD": ("i", False, 1),
        "patchDataType": ("s", False, "UINT8"),
    }

    @property
    def embeds(self) -> bool:
        """Whether images have a pass before the encoders."""
        return bool(self.get_nodeattr("patches"))

    @property
    def outside(self) -> Stream:
        """What comes from outside."""
        get = self.get_nodeattr
        if not self.embeds:
            return self.of_encoder(0)
        return Stream(get("patches"), get("patch_channels"), get("patch_SIMD"), DataType[get("patchDataType")])

    @property
    def embedded(self) -> Stream:
        """The same with signed codes."""
        return replace(self.outside, dtype=DataType[f"INT{self.outside.dtype.bitwidth()}"])

    @property
    def frame_beats(self) -> list[int]:
        return [*super().frame_beats, *([self.outside.beats] if self.embeds else ())]

    def in_streams(self) -> list[Stream]:
        return [self.outside if self.embeds else self.stream, self.stream, self.outside]

    def out_streams(self) -> list[Stream]:
        return [self.stream, self.outside, *([self.embedded] if self.embeds else ()), TAGS]

    def tag_ports(self) -> tuple[int, int]:
        return 0, 1

    def resources(self) -> Estimate:
        """Two skids of beats from outside; a third one, and a count of its own, for the pass before the encoders, but no choice."""
        more = self.outside.width - self.stream.width + 2 * self.outside.beats.bit_length() if self.embeds else 0
        return Estimate(LUT=self.port_luts() + 2 * self.outside.width + more + COUNT_LUTS)


class VitEngineEntry_rtl(EnginePortBackend, VitEngineEntry):
    """RTL of :class:`VitEngineEntry`."""

    RTL_TOP = "vp_engine_entry"
    RTL_OUTPUTS = 3

    def rtl_parameters(self) -> dict[str, int | str]:
        found = {**super().rtl_parameters(), "BATCH": self.get_nodeattr("batch")}
        if self.embeds:
            bits = 0 if self.outside.dtype.signed() else self.outside.dtype.bitwidth()
            found |= {"EMBEDS": 1, "NEW_WIDTH": self.outside.width, "FLIP_BITS": bits}
        return found


class VitEngineExit(EnginePort):
    """Frames of the last encoder leave the engine (output 0), all others go back to its entry (output 1)."""

    def in_streams(self) -> list[Stream]:
        return [self.stream, TAGS]

    def out_streams(self) -> list[Stream]:
        return [self.stream, self.stream]

    def tag_ports(self) -> tuple[int, int]:
        return 1, 0

    def way(self, encoder: int) -> int:
        """The output at which a frame of an encoder, from 0, leaves."""
        return 0 if encoder == len(self.get_nodeattr("tokens")) - 1 else 1

    def resources(self) -> Estimate:
        return Estimate(LUT=self.port_luts())


class VitEngineExit_rtl(EnginePortBackend, VitEngineExit):
    """RTL of :class:`VitEngineExit`."""

    RTL_TOP = "vp_engine_exit"

    def tag_queue(self) -> tuple[int, int]:
        return len(self.get_nodeattr("tokens")), 2 * self.get_nodeattr("batch")
