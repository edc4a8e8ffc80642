"""What a FIFO takes: its RAM, its control, its foldings. Units have such FIFOs inside, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from finn_vitprune.custom_ops.op.folding import Folding, Styles, thriftiest, used_by
from finn_vitprune.custom_ops.op.memory import Estimate, Holds, UnitMemory, fifo_ram, ram_is_fast
from finn_vitprune.custom_ops.op.structure import UnitParts


def _control(words: int) -> int:
    """LUTs of the pointers into a RAM and of its fill count."""
    pointer = max(1, (words - 1).bit_length())
    return 3 * pointer // 2 + 6 if words == 1 << pointer else 3 * pointer + 7


def credit_fifo_luts(places: int) -> int:
    """LUTs of a ``vp_credit_fifo`` of more than two places in LUTRAM, without the RAM (``places`` words)."""
    return _control(places) + 2 * places.bit_length() + 3


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
    def parts(self) -> int:
        """FIFOs one behind the other, so many that the RAM of each is fast; one where beats are too wide for that."""
        if self.depth <= 2:
            return 1
        _, width, style = fifo_ram(self.depth, self.width, self.style)
        return next((n for n in range(1, self.depth) if ram_is_fast(-(-self.depth // n), width, style)), 1)

    @property
    def part_depth(self) -> int:
        """Beats of each of the parts."""
        return -(-self.depth // self.parts)

    @property
    def holds(self) -> int:
        """Beats that the parts hold together: ``depth``, or the next multiple of their number."""
        return self.parts * self.part_depth

    @property
    def ram(self) -> tuple[int, int, str]:
        """Words, bits and style of the RAM of a part; no words where the beats are in registers."""
        return fifo_ram(self.part_depth, self.width, self.style) if self.depth > 2 else (0, self.width, "distributed")

    @property
    def read_latency(self) -> int:
        """Registers of a read of the RAM, which hold a beat each."""
        words = self.ram[0]
        return self.part_depth - words if words else 1

    @property
    def memories(self) -> tuple[UnitMemory, ...]:
        return (UnitMemory(Holds.FIFO, "beats", *self.ram, count=self.parts),) if self.ram[0] else ()

    @property
    def resources(self) -> Estimate:
        """LUTRAM or deep RAMs with their multiplexer, the two pointers, the fill count, and 4 LUTs a further stage of a read."""
        words = self.ram[0]
        if not words:
            return Estimate(LUT=self.width + 5)
        control = _control(words) + 4 * (self.read_latency - 1)
        return self.memories[0].resources + Estimate(LUT=self.parts * control)

    @property
    def made_of(self) -> UnitParts:
        """Registers alone, or of each part its control, what its reads and its output hold, and one for each."""
        words = self.ram[0]
        if not words:
            return UnitParts.of("registers", {"one": 1, "bits": self.width})
        later = self.read_latency - 1
        parts = {
            "one": 1,
            "pointer": max(1, (words - 1).bit_length()),
            "held": self.width,
            "later": later,
            "later_held": later * self.width,
        }
        return UnitParts.of("fifo", {name: self.parts * amount for name, amount in parts.items()}, memories=self.memories)

    def attributes(self) -> Mapping[str, int | str]:
        return {"ram_style": self.style}

    def for_interval(self, interval: int) -> FifoFolding:
        """The FIFO itself: it has one pace."""
        return self

    def in_memories(self, styles: Styles) -> tuple[FifoFolding, ...]:
        folds = [replace(self, style=style) for style in styles.ram]
        return tuple(folds[i] for i in thriftiest(used_by(folds, styles.family)))

    @property
    def shape(self) -> FifoFolding:
        return replace(self, style="auto")
