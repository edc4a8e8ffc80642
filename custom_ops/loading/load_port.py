"""The first unit of a design whose memories are loaded: load port and gate of the input stream."""

from __future__ import annotations

import numpy as np

from finn_vitprune import load_port
from finn_vitprune.custom_ops.loading.frame_check import COUNT_BITS, WRONG_FRAMES
from finn_vitprune.custom_ops.loading.load_end import FRAME_LEFT
from finn_vitprune.custom_ops.op.base import StreamOp
from finn_vitprune.custom_ops.op.folding import Attributes
from finn_vitprune.custom_ops.op.load_chain import LoadChainBackend
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.rtl_backend import Pin

CONTROL_LUTS = 303
"""Of the port but for its stream: handshake, header, checksum of a word, states, what is read, as Yosys
maps them."""


class VitLoadPort(StreamOp):
    """x ``[tokens, channels]`` unchanged, once the design's memories are loaded.

    ``words`` are the data words (32 bits) of all memories, ``design`` the number that contents must name, ``frame_check`` the node whose
    count has a register here, "" for none.
    """

    token_wise = True
    ATTRIBUTES = {"words": ("i", True, 0), "design": ("i", True, 0), "frame_check": ("s", False, "")}

    def verify_node(self) -> list[str]:
        """Raise UserError for a port that the unit does not build; an empty list when all is well."""
        words, design = self.get_nodeattr("words"), self.get_nodeattr("design")
        self.require(1 <= words < 1 << 31, f"words {words} is not possible: use 1 to 2**31 - 1")
        self.require(0 <= design < 1 << 32, f"design {design} is not possible: use 0 to 2**32 - 1")
        return []

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return [inputs[0].copy()]

    def folds(self) -> tuple[Attributes, ...]:
        """None: it is as wide as the stream that it stands in."""
        return ()

    def beat_cycles(self) -> int:
        """The gate's register."""
        return 1

    def resources(self) -> Estimate:
        """A multiplexer bit for each bit of a beat, and the port."""
        return Estimate(LUT=self.source.width + CONTROL_LUTS)


class VitLoadPort_rtl(LoadChainBackend, VitLoadPort):
    """RTL of :class:`VitLoadPort`."""

    RTL_TOP = "vp_load_port"
    STAGES_IN_TOP = True

    def rtl_parameters(self) -> dict[str, int | str]:
        get = self.get_nodeattr
        return {
            "WIDTH": self.source.width,
            "BEATS": self.source.beats,
            "WORDS": get("words"),
            "DESIGN": get("design"),
            "STAGES": get("load_stages"),
            **({"ADDRESS_BITS": self.axilite_bits()} if get("frame_check") else {}),
        }

    def axilite_bits(self) -> int:
        return load_port.ADDRESS_BITS + bool(self.get_nodeattr("frame_check"))

    def side_pins(self) -> list[Pin]:
        counted = [Pin("input", WRONG_FRAMES, COUNT_BITS)] if self.get_nodeattr("frame_check") else []
        return [*super().side_pins(), Pin("input", FRAME_LEFT, 1), *counted]

    def tied_pins(self) -> list[str]:
        return [*super().tied_pins(), *([] if self.get_nodeattr("frame_check") else [f".{WRONG_FRAMES}({COUNT_BITS}'d0)"])]

    def code_generation_ipi(self) -> list[str]:
        commands, check, here = super().code_generation_ipi(), self.get_nodeattr("frame_check"), self.onnx_node.name
        if check:
            commands.append(f"connect_bd_net [get_bd_pins {check}/{WRONG_FRAMES}] [get_bd_pins {here}/{WRONG_FRAMES}]")
        return commands
