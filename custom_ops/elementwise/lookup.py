"""Element-wise function of narrow codes by table (an activation)."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.elementwise.table import TableBackend, TableOp
from finn_vitprune.custom_ops.op.memory import Estimate


class VitLookup(TableOp):
    """y = table[x - min] for x ``[tokens, channels]`` of 2 to 8 bits; ``table`` ``[2**bits]``, min first."""

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        x, table = inputs
        return [self.looked_up(x, table)]

    def resources(self) -> Estimate:
        """One LUT per bit of the input register, the tables and the handshake."""
        return self.memory_map()[0].resources + Estimate(LUT=self.source.width + 8 + self.handshake_luts())


class VitLookup_rtl(TableBackend, VitLookup):
    """RTL of :class:`VitLookup`."""

    RTL_TOP = "vp_lookup"

    def rtl_parameters(self) -> dict[str, int | str]:
        source, target = self.source, self.target
        return {
            "SIMD": source.simd,
            "IN_BITS": source.dtype.bitwidth(),
            "IN_SIGNED": int(source.dtype.signed()),
            "OUT_BITS": target.dtype.bitwidth(),
            **self.table_parameters(),
        }
