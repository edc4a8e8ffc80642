"""Element-wise function of narrow codes by table (an activation)."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.op.base import UnaryStreamOp
from finn_vitprune.custom_ops.op.load_chain import CountingBackend, frame_rows
from finn_vitprune.custom_ops.op.memory import Estimate, Holds, UnitMemory
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import Region


class VitLookup(SharedOp, UnaryStreamOp):
    """y = table[x - min] for x ``[tokens, channels]`` of 2 to 8 bits; ``table`` ``[2**bits]``, min first."""

    token_wise = True
    ENCODER_ATTRIBUTES = ("tokens", "channels")
    ATTRIBUTES = {"ram_style": ("s", False, "distributed", {"auto", "block", "distributed"})}

    def in_streams(self) -> list[Stream]:
        return [self.source, *self.tags()]

    def out_streams(self) -> list[Stream]:
        return [self.target, *self.tags()]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        x, table = inputs
        return [table.reshape(-1)[x - int(self.source.dtype.min())]]

    def _rom(self) -> tuple[int, int, str]:
        """Entries, bits and style of one copy of the tables of all encoders."""
        depth = self.encoders << self.source.dtype.bitwidth()
        return depth, self.target.dtype.bitwidth(), self.get_nodeattr("ram_style")

    def memory_map(self) -> tuple[UnitMemory, ...]:
        """A copy of the table for each element of a beat."""
        return (UnitMemory(Holds.TABLE, "table", *self._rom(), count=self.source.simd, rom=True),)

    def resources(self) -> Estimate:
        """One LUT per bit of the input register, the tables and the handshake."""
        frame = self.frame_luts([op.source.beats for op in self.by_encoder()], range(self.encoders))
        return self.memory_map()[0].resources + Estimate(LUT=self.source.width + 8 + frame)


class VitLookup_rtl(CountingBackend, VitLookup):
    """RTL of :class:`VitLookup`."""

    RTL_TOP = "vp_lookup"

    def rtl_parameters(self) -> dict[str, int | str]:
        source, target = self.source, self.target
        return {
            "SIMD": source.simd,
            "IN_BITS": source.dtype.bitwidth(),
            "IN_SIGNED": int(source.dtype.signed()),
            "OUT_BITS": target.dtype.bitwidth(),
            "ENCODERS": self.encoders,
            "COUNT_W": max(1, clog2(self.most.beats)),
            "TABLE_FILE": self.memory_file("table"),
            "STYLE": self.get_nodeattr("ram_style"),
            **self.load_parameters(),
        }

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """Beats of a frame."""
        return {"shapes": frame_rows([op.source.beats for op in self.by_encoder()])}

    def regions(self) -> list[Region]:
        depth, bits, _ = self._rom()
        return [*super().regions(), Region(self.onnx_node.name, "table", depth, bits, 1)]

    def banks(self, model) -> dict[str, list[Memory]]:
        """The tables, the first encoder's first."""
        tables = [op.table(model) for op in self.by_encoder()]
        return {"table": [Memory.packed(np.concatenate(tables), self.target.dtype.bitwidth())]}

    def table(self, model) -> np.ndarray:
        """The table of one encoder, ``[2**bits, 1]``.

        Raises:
            UserError: it has other entries than the types allow.
        """
        table = np.rint(model.get_initializer(self.onnx_node.input[1])).reshape(-1, 1)
        target, depth = self.target.dtype, 1 << self.source.dtype.bitwidth()
        held = len(table) == depth and target.min() <= table.min() and table.max() <= target.max()
        found = f"{len(table)} from {table.min():g} to {table.max():g}"
        self.require(held, f"the table must have {depth} entries of {target.name}, it has {found}")
        return table
