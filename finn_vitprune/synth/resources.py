"""What a netlist occupies on an UltraScale+ part, counted from its cells.

How a cell counts (sites of UG574, "UltraScale Architecture Configurable Logic Block", chapter 2):

| cells | counted as |
|---|---|
| LUT1 ... LUT6, LUT6_2 | 1 LUT each (no packing of two small LUTs into one site) |
| SRL16E, SRLC16E, SRLC32E | 1 LUT each, reported as SRL too |
| RAM32X1S, RAM64X1S | 1 LUT |
| RAM32X1D, RAM64X1D, RAM128X1S | 2 LUTs |
| RAM32M, RAM64M, RAM128X1D, RAM256X1S | 4 LUTs |
| RAM32M16, RAM64M8, RAM32X16DR8, RAM64X8SW, RAM256X1D, RAM512X1S | 8 LUTs |
| FDRE, FDSE, FDCE, FDPE, latches | 1 FF |
| DSP48E2 | 1 DSP |
| RAMB36E2 / RAMB18E2, FIFO36E2 / FIFO18E2 | 1 / 0.5 BRAM36 |
| URAM288, URAM288_BASE | 1 URAM |
| CARRY8, CARRY4 | carry, not a LUT |
| INV, MUXF7, MUXF8, MUXF9, BUFG..., VCC, GND, IBUF, OBUF | nothing |

``LUT`` is the sum of logic LUTs, LUTRAM sites and shift registers, as Vivado's "CLB LUTs" is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

ESTIMATE = "estimate"
"""What counted resources that no tool counted: the ops' own formulas. They have no flip-flops."""
NOT_ESTIMATED = "not estimated"
"""Of an amount that nobody counted."""

_SIZES: dict[str, dict[str, int]] = {
    "LUT": {f"LUT{i}": 1 for i in range(1, 7)} | {"LUT6_2": 1},
    "SRL": {"SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1},
    "LUTRAM": {
        "RAM32X1S": 1,
        "RAM64X1S": 1,
        "RAM32X1D": 2,
        "RAM64X1D": 2,
        "RAM128X1S": 2,
        "RAM32M": 4,
        "RAM64M": 4,
        "RAM128X1D": 4,
        "RAM256X1S": 4,
        "RAM32M16": 8,
        "RAM64M8": 8,
        "RAM32X16DR8": 8,
        "RAM64X8SW": 8,
        "RAM256X1D": 8,
        "RAM512X1S": 8,
    },
    "FF": dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE", "LDCE", "LDPE"), 1),
    "DSP": {"DSP48E2": 1},
    "URAM": {"URAM288": 1, "URAM288_BASE": 1},
    "carry": {"CARRY8": 1, "CARRY4": 1},
}
"""What a cell counts, by resource; here LUT are those used as logic."""
_BRAM36 = {"RAMB36E2": 1.0, "FIFO36E2": 1.0, "RAMB18E2": 0.5, "FIFO18E2": 0.5}
"""The same of block RAM."""
_FREE = {
    "INV", "MUXF7", "MUXF8", "MUXF9", "VCC", "GND", "IBUF", "OBUF", "BUFG", "BUFGCTRL", "BUFGCE",
    "$scopeinfo", "$print", "$check", "$assert", "$assume", "$cover",
}  # fmt: skip


@dataclass(frozen=True)
class Resources:
    """Resources of a node or of a design; a RAMB18 counts half a ``BRAM36``.

    ``LUT`` includes ``LUTRAM`` (LUTs used as memory) and ``SRL`` (LUTs used as shift registers).
    """

    LUT: int = 0
    FF: int = 0
    DSP: int = 0
    BRAM36: float = 0.0
    URAM: int = 0
    LUTRAM: int = 0
    SRL: int = 0
    carry: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*map(sum, zip(astuple(self), astuple(other))))

    @classmethod
    def from_cells(cls, cells: Mapping[str, int]) -> Resources:
        """Count a mapped netlist.

        Args:
            cells: cell type to number of instances.
        Raises:
            ValueError: a cell type that is in no row of the table above.
        """
        unknown = sorted(cells.keys() - _FREE.union(_BRAM36, *_SIZES.values()))
        if unknown:
            raise ValueError(f"cells of unknown size in the netlist: {', '.join(unknown)}")
        found = {kind: sum(size * cells.get(name, 0) for name, size in sizes.items()) for kind, sizes in _SIZES.items()}
        found["LUT"] += found["LUTRAM"] + found["SRL"]
        return cls(**found, BRAM36=sum(size * cells.get(name, 0) for name, size in _BRAM36.items()))


def total(parts: Iterable[Resources]) -> Resources:
    """The sum of several nodes."""
    return sum(parts, Resources())
