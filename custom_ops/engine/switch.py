"""Branches of a stream in an engine: units that stay one for each encoder stand between a switch and a merge."""

from __future__ import annotations

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.custom_ops.op.load_chain import LoadedBackend, frame_rows
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.op.shared import frame_luts
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.beats import Stream


class EngineBranches(VitOp):
    """Frames of encoder e, ``tokens[e]`` rows of ``channels``, pass on branch ``branches[e]``; none where ``tokens[e]`` is 0.

    ``most_beats``: of a frame that it is made for at least. ``row_channels``: channels by encoder, where they differ.
    ``ends_tags``: whether the tags go on to no other unit.
    """

    ATTRIBUTES = {
        "tokens": ("ints", True, []),
        "most_beats": ("i", False, 0),
        "branches": ("ints", True, []),
        "channels": ("i", True, 0),
        "row_channels": ("ints", False, []),
        "SIMD": ("i", False, 1),
        "inputDataType": ("s", True, ""),
        "frames": ("i", False, 4),
        "ends_tags": ("i", False, 0, {0, 1}),
    }

    def tags(self) -> list[Stream]:
        return [TAGS]

    def tag_ports(self) -> tuple[int, int]:
        return 1, 1 - self.get_nodeattr("ends_tags")

    @property
    def tags_on(self) -> list[Stream]:
        """The tags as they go on."""
        return [] if self.get_nodeattr("ends_tags") else self.tags()

    @property
    def stream(self) -> Stream:
        """The largest frame."""
        get = self.get_nodeattr
        whole = Stream(max(get("tokens")), get("channels"), get("SIMD"), DataType[get("inputDataType")])
        return max([whole, *map(self.of_encoder, range(len(get("row_channels"))))], key=lambda stream: stream.beats)

    @property
    def most_beats(self) -> int:
        """Beats of the largest frame that it is made for."""
        return max(self.stream.beats, self.get_nodeattr("most_beats"))

    def of_encoder(self, encoder: int) -> Stream:
        """A frame of an encoder, from 0."""
        get = self.get_nodeattr
        channels = get("row_channels")[encoder] if get("row_channels") else get("channels")
        return Stream(get("tokens")[encoder], channels, get("SIMD"), DataType[get("inputDataType")])

    def branch(self, encoder: int) -> int | None:
        """The branch of an encoder's frame; None where it has none, or is not known here (:class:`VitTagFork`)."""
        tokens = self.get_nodeattr("tokens")
        return self.get_nodeattr("branches")[encoder] if encoder < len(tokens) and tokens[encoder] else None

    @property
    def ways(self) -> list[Stream]:
        """The branches, each with the largest frame that passes it."""
        branches = self.get_nodeattr("branches")
        frames = [self.of_encoder(e) for e in range(len(branches))]
        count = 1 + max(branch for frame, branch in zip(frames, branches) if frame.tokens)
        return [max((f for f, b in zip(frames, branches) if b == way), key=lambda frame: frame.beats) for way in range(count)]

    @property
    def frame_beats(self) -> list[int]:
        """Beats of a frame by encoder."""
        return [self.of_encoder(e).beats for e in range(len(self.get_nodeattr("tokens")))]

    def verify_node(self) -> list[str]:
        """Raise a UserError for attributes that do not go together; an empty list when all is well."""
        tokens, branches = self.get_nodeattr("tokens"), self.get_nodeattr("branches")
        held = len(tokens) == len(branches) >= 2 and min(tokens) >= 0 and max(tokens) > 0
        self.require(held, f"tokens {tokens} and branches {branches} must be of 2 or more encoders, one of them with tokens")
        used = {branch for count, branch in zip(tokens, branches) if count}
        self.require(used == set(range(len(used))), f"branches {branches} must be 0, 1, ..., each of an encoder with tokens")
        return []

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Not of one frame alone: where it passes depends on its encoder."""
        raise NotImplementedError(f"{self.onnx_node.op_type} has no meaning outside of its engine")

    def frame_luts(self) -> int:
        """``vp_engine_frame``, which tells a frame without beats, and the branch, a bit each."""
        beats = self.frame_beats
        ways = [1 << branch for branch in self.get_nodeattr("branches")]
        return frame_luts(self.get_nodeattr("frames"), beats, [b == 0 for b in beats], ways)


class BranchesBackend(LoadedBackend):
    """RTL half of ``vp_engine_switch`` and ``vp_engine_merge``."""

    def rtl_parameters(self) -> dict[str, int | str]:
        self.verify_node()
        return {
            "WIDTH": self.stream.width,
            "ENCODERS": len(self.get_nodeattr("tokens")),
            "BRANCHES": len(self.ways),
            "COUNT_W": max(1, clog2(self.most_beats)),
            **self.load_parameters(),
        }

    def tag_queue(self) -> tuple[int, int]:
        return len(self.get_nodeattr("tokens")), self.get_nodeattr("frames")

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """Beats of a frame, and its branch, one hot."""
        return {"shapes": frame_rows(self.frame_beats, [1 << branch for branch in self.get_nodeattr("branches")])}

    def widen(self, other: EngineBranches) -> None:
        self.set_nodeattr("most_beats", max(self.most_beats, other.most_beats))


class VitSwitch(EngineBranches):
    """Deals the frames of input 0 to the branches, outputs 0, 1, ...; tags last."""

    def in_streams(self) -> list[Stream]:
        return [self.stream, TAGS]

    def out_streams(self) -> list[Stream]:
        return [*self.ways, *self.tags_on]

    def resources(self) -> Estimate:
        """One LUT a bit of the input register, handshakes."""
        return Estimate(LUT=self.frame_luts() + self.stream.width + 6 + 2 * len(self.ways))


class VitSwitch_rtl(BranchesBackend, VitSwitch):
    """RTL of :class:`VitSwitch`."""

    RTL_TOP = "vp_engine_switch"
    PACKED = ("out",)


class VitMerge(EngineBranches):
    """Joins the branches, inputs 0, 1, ..., to output 0 in the order of the tags, which come last."""

    def in_streams(self) -> list[Stream]:
        return [*self.ways, TAGS]

    def out_streams(self) -> list[Stream]:
        return [self.stream, *self.tags_on]

    def resources(self) -> Estimate:
        """One LUT a bit of the input registers and of the choice, handshakes."""
        ways = len(self.ways)
        return Estimate(LUT=self.frame_luts() + self.stream.width * (ways + -(-ways // 3)) + 6 * ways + 4)


class VitMerge_rtl(BranchesBackend, VitMerge):
    """RTL of :class:`VitMerge`."""

    RTL_TOP = "vp_engine_merge"
    PACKED = ("in",)


class VitTagFork(VitOp):
    """Copies tags to two chains of units. Output 0 gets all of them, output 1 all but ``left_out``, the tag of the pass before the encoders."""

    ATTRIBUTES = {"left_out": ("i", True, 0)}

    @property
    def kind(self) -> str:
        """A fork of one byte."""
        return "VitFork"

    def in_streams(self) -> list[Stream]:
        return [TAGS]

    def out_streams(self) -> list[Stream]:
        return [TAGS, TAGS]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Refused: a frame alone does not say how many tags the second chain gets."""
        raise NotImplementedError(f"{self.onnx_node.op_type} has no meaning outside of its engine")

    def resources(self) -> Estimate:
        """A skid of the tag's byte, the fork, the comparison."""
        return Estimate(LUT=24)


class VitTagFork_rtl(VitRTLBackend, VitTagFork):
    """RTL of :class:`VitTagFork`."""

    RTL_TOP = "vp_engine_tag_fork"
    RTL_OUTPUTS = 2

    def rtl_parameters(self) -> dict[str, int | str]:
        return {"OUT": self.get_nodeattr("left_out")}
