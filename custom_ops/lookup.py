"""Element-wise function of narrow codes by table (GELU)."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.base import UnaryStreamOp
from finn_vitprune.custom_ops.memory import Estimate, Holds, UnitMemory
from finn_vitprune.custom_ops.rtl_backend import Memory, VitRTLBackend


class VitLookup(UnaryStreamOp):
    """y = table[x - min] for x ``[tokens, channels]`` of 2 to 8 bits; ``table`` ``[2**bits]``, min first."""

    token_wise = True
    ATTRIBUTES = {
        "ram_style": ("s", False, "distributed", {"auto", "block", "distributed"}),
    }

    def compute(self, x: np.ndarray, table: np.ndarray) -> list[np.ndarray]:
        return [table.reshape(-1)[x - int(self.source.dtype.min())]]

    def _rom(self) -> tuple[int, int, str]:
        """Entries, bits and style of one copy of the table."""
        depth = 1 << self.source.dtype.bitwidth()
        return depth, self.target.dtype.bitwidth(), self.get_nodeattr("ram_style")

    def memory_map(self) -> tuple[UnitMemory, ...]:
        """A copy of the table for each element of a beat."""
        return (UnitMemory(Holds.TABLE, "table", *self._rom(), count=self.source.simd, rom=True),)

    def resources(self) -> Estimate:
        """One LUT per bit of the input register, the tables and the handshake."""
        return self.memory_map()[0].resources + Estimate(LUT=self.source.width + 8)


class VitLookup_rtl(VitRTLBackend, VitLookup):
    """RTL of :class:`VitLookup`."""

    RTL_TOP = "vp_lookup"

    def rtl_parameters(self) -> dict[str, int | str]:
        source, target = self.source, self.target
        return {
            "SIMD": source.simd,
            "IN_BITS": source.dtype.bitwidth(),
            "IN_SIGNED": int(source.dtype.signed()),
            "OUT_BITS": target.dtype.bitwidth(),
            "TABLE_FILE": self.memory_file("table"),
            "STYLE": self.get_nodeattr("ram_style"),
        }

    def memories(self, model) -> dict[str, Memory]:
        table = np.rint(model.get_initializer(self.onnx_node.input[1])).reshape(-1, 1)
        target, (depth, bits, _) = self.target.dtype, self._rom()
        held = len(table) == depth and target.min() <= table.min() and table.max() <= target.max()
        found = f"{len(table)} from {table.min():g} to {table.max():g}"
        self.require(held, f"the table must have {depth} entries of {target.name}, it has {found}")
        return {"table": Memory.packed(table, bits)}
