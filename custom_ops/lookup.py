"""Element-wise function of narrow codes by table (GELU)."""

from __future__ import annotations

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.base import VitOp
from finn_vitprune.custom_ops.memory import rom_bram18, rom_luts
from finn_vitprune.custom_ops.rtl_backend import Memory, VitRTLBackend, pack_words
from finn_vitprune.sim.beats import Stream


class VitLookup(VitOp):
    """y = table[x - min] for x ``[tokens, channels]`` of 2 to 8 bits; ``table`` ``[2**bits]``, min first."""

    def get_nodeattr_types(self) -> dict:
        return super().get_nodeattr_types() | {
            "tokens": ("i", True, 0),
            "channels": ("i", True, 0),
            "SIMD": ("i", False, 1),
            "inputDataType": ("s", True, ""),
            "outputDataType": ("s", True, ""),
            "ram_style": ("s", False, "distributed", {"auto", "block", "distributed"}),
        }

    def _stream(self, attribute: str) -> Stream:
        get = self.get_nodeattr
        return Stream(get("tokens"), get("channels"), get("SIMD"), DataType[get(attribute)])

    def in_streams(self) -> list[Stream]:
        return [self._stream("inputDataType")]

    def out_streams(self) -> list[Stream]:
        return [self._stream("outputDataType")]

    def compute(self, x: np.ndarray, table: np.ndarray) -> list[np.ndarray]:
        return [table.reshape(-1)[x - int(self.in_streams()[0].dtype.min())]]

    def get_exp_cycles(self) -> int:
        return self.in_streams()[0].beats

    def _rom(self) -> tuple[int, int, str]:
        """Entries, bits and style of one copy of the table."""
        depth = 1 << self.in_streams()[0].dtype.bitwidth()
        return depth, self.out_streams()[0].dtype.bitwidth(), self.get_nodeattr("ram_style")

    def lut_estimation(self, fpgapart: str) -> int:
        """One LUT per bit of the input register, the tables and the handshake."""
        return self.in_streams()[0].width + self.get_nodeattr("SIMD") * rom_luts(*self._rom()) + 8

    def bram_estimation(self, fpgapart: str) -> int:
        """Block RAMs of 18 Kbit."""
        return self.get_nodeattr("SIMD") * rom_bram18(*self._rom())


class VitLookup_rtl(VitRTLBackend, VitLookup):
    """RTL of :class:`VitLookup`."""

    RTL_TOP = "vp_lookup"

    def rtl_parameters(self) -> dict[str, int | str]:
        source, target = self.in_streams()[0], self.out_streams()[0]
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
        target, (depth, bits, _) = self.out_streams()[0].dtype, self._rom()
        if len(table) != depth or table.min() < target.min() or table.max() > target.max():
            raise ValueError(
                f"{self.onnx_node.name}: the table needs {depth} entries of {target}, has {len(table)}"
            )
        return {"table": Memory(pack_words(table, bits), bits)}
