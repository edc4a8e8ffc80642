"""Stream FIFO."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from finn_vitprune.custom_ops.base import FoldedOp, StreamOp
from finn_vitprune.custom_ops.folding import Folding, Styles, thriftiest
from finn_vitprune.custom_ops.memory import Estimate, Holds, UnitMemory, fifo_ram, fifo_section
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend


@dataclass(frozen=True)
class FifoFolding(Folding):
    """A FIFO of ``depth`` beats of ``width`` bits in the memory ``style``, for frames of ``beats``."""

    depth: int
    width: int
    beats: int
    style: str

    @property
    def cycles(self) -> int:
        return self.beats

    @property
    def section(self) -> int:
        """Beats of each FIFO in the chain that a deep one in LUTs is, or 0."""
        return fifo_section(self.depth, self.width, self.style)

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Beats of the FIFOs in a chain that it is made of, and how many are equal: the last holds what is left."""
        if not self.section:
            return ((self.depth, 1),)
        whole, left = divmod(self.depth, self.section)
        return tuple(part for part in ((self.section, whole), (left, 1)) if part[0])

    @property
    def read_latency(self) -> int:
        """Registers of a read of a RAM, which hold a beat each."""
        depth = self.parts[0][0]
        return depth - fifo_ram(depth, self.width, self.style)[0] if depth > 2 else 1

    @property
    def beat_cycles(self) -> int:
        """A write, and the registers of a read, in every FIFO of the chain; a part of two beats or one is a register."""
        return sum(count * (1 + self.read_latency if depth > 2 else 2 if len(self.parts) == 1 else 1) for depth, count in self.parts)

    @property
    def memories(self) -> tuple[UnitMemory, ...]:
        return tuple(
            UnitMemory(Holds.FIFO, "beats", *fifo_ram(depth, self.width, self.style), count=count)
            for depth, count in self.parts if depth > 2
        )

    @property
    def resources(self) -> Estimate:
        """LUTRAM or deep RAMs with their multiplexer, the two pointers, the fill count, and 4 LUTs a further stage of a read."""
        luts = sum(count * self._control(depth) for depth, count in self.parts)
        return sum((memory.resources for memory in self.memories), Estimate(LUT=luts))

    def _control(self, depth: int) -> int:
        """LUTs of a FIFO but for its RAM."""
        if depth <= 2:
            return self.width + 5
        words = fifo_ram(depth, self.width, self.style)[0]
        pointer = max(1, (words - 1).bit_length())
        return (3 * pointer // 2 + 6 if words == 1 << pointer else 3 * pointer + 7) + 4 * (self.read_latency - 1)

    def attributes(self) -> dict[str, str]:
        return {"ram_style": self.style}

    def for_interval(self, interval: int) -> FifoFolding:
        """The FIFO itself: it has one pace."""
        return self

    def candidates(self, interval: int, styles: Styles) -> tuple[FifoFolding, ...]:
        """The FIFO in every memory."""
        return thriftiest((fold, fold.resources) for style in styles.ram for fold in [replace(self, style=style)])

    @property
    def shape(self) -> FifoFolding:
        return replace(self, style="auto")


class VitFIFO(FoldedOp, StreamOp):
    """x ``[tokens, channels]`` unchanged, up to ``depth`` beats held back.

    ``ram_style`` auto: LUTRAM up to 64 beats or 1,024 bits, block RAM beyond. The read registers of the RAM are part
    of the ``depth``. In LUTRAM a FIFO of more than 32 Kbit is a chain of smaller ones.
    """

    is_buffer = True
    ram_holds = "the beats"
    ATTRIBUTES = {
        "depth": ("i", True, 0),
        "ram_style": ("s", False, "auto", {"auto", "block", "distributed", "ultra"}),
    }

    def verify_node(self) -> list[str]:
        """Raise UserError for a depth that the unit does not hold; an empty list when all is well."""
        depth = self.get_nodeattr("depth")
        self.require(depth >= 1, f"depth {depth} is not possible: use 1 or more")
        return []

    def compute(self, x: np.ndarray) -> list[np.ndarray]:
        return [x.copy()]

    def beat_cycles(self) -> int:
        """A write, and the registers of a read, in every FIFO of the chain."""
        return self.folding().beat_cycles

    def read_latency(self) -> int:
        """Registers of a read of the RAM, which hold a beat each."""
        return self.folding().read_latency

    def folding(self) -> FifoFolding:
        source = self.source
        return FifoFolding(self.get_nodeattr("depth"), source.width, source.beats, self.get_nodeattr("ram_style"))


class VitFIFO_rtl(VitRTLBackend, VitFIFO):
    """RTL of :class:`VitFIFO`."""

    RTL_TOP = "vp_stream_fifo"

    def rtl_parameters(self) -> dict[str, int | str]:
        return {
            "WIDTH": self.source.width,
            "DEPTH": self.get_nodeattr("depth"),
            "STYLE": self.get_nodeattr("ram_style"),
            "READ_LATENCY": self.read_latency(),
            "SECTION": self.folding().section,
        }
