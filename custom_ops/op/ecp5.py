"""What units take of a Lattice ECP5, as Yosys maps them (``synth_lattice -family ecp5``): COMB, FF, MULT18 and EBR.

Products and memories follow Yosys' rules, so that multipliers and block RAMs are exact:

- A product is cut into multipliers of 18 x 18 bits (``mul2dsp``); a part of a single bit is made of LUTs.
- Block RAM is the cheapest of the shapes of an EBR of 18 kbit, as in :func:`.block_ram_cut`; there are no others, and no UltraRAM.
- Other RAMs are of TRELLIS_DPR16X4, 16 words of 4 bits, which are six COMB each: four and two that write.

The remaining logic is a sum over the parts of a unit (:class:`.UnitParts`): each has a price in COMB and in FF, in ``ecp5.json``.
``builds/experiments/ecp5_units.py`` fits them to mapped units.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from finn_vitprune.custom_ops.op.memory import RAMB18_SHAPES, BlockRamCut, Holds, RowRam, RowRom, UnitMemory, cheapest_cut
from finn_vitprune.custom_ops.op.structure import ProductGroup, UnitParts

EBR_COST = 128
"""Yosys' price of an EBR."""
MULT18_BITS = 18
DPR_WORDS, DPR_WIDTH, DPR_COMB = 16, 4, 6
"""A TRELLIS_DPR16X4: its words, their bits, and what nextpnr makes of it."""
KEPT = 1 << 14
"""Units of which the estimate is remembered."""
MUX_WORDS = 64
"""Words of a bit that multiplexers beside LUTs join."""
MEMORY = "memory"
"""The row of the table with the logic beside memories."""

Table = Mapping[str, Mapping[str, tuple[float, float]]]
"""COMB and FF of a unit of each part, by kind of structure and by part."""


@dataclass(frozen=True)
class Ecp5Estimate:
    """What is taken of each resource."""

    COMB: float = 0.0
    FF: float = 0.0
    MULT18: int = 0
    EBR: int = 0

    @property
    def amounts(self) -> tuple[float, float, float, float]:
        """What is taken of each resource, in the order of the family's kinds."""
        return self.COMB, self.MULT18, self.EBR, self.FF

    def __add__(self, other: Ecp5Estimate) -> Ecp5Estimate:
        return Ecp5Estimate(self.COMB + other.COMB, self.FF + other.FF, self.MULT18 + other.MULT18, self.EBR + other.EBR)


@lru_cache(maxsize=1)
def table() -> Table:
    """The table of the package."""
    return json.loads(resources.files("finn_vitprune.custom_ops.op").joinpath("ecp5.json").read_text())


@lru_cache(maxsize=KEPT)
def estimate(unit: UnitParts) -> Ecp5Estimate:
    """What a unit takes."""
    prices = table()
    comb, ff = float(DPR_COMB * sum(map(dpr_rams, unit.memories))), 0.0
    for kind, amounts in ((unit.kind, dict(unit.parts)), (MEMORY, memory_parts(unit.memories))):
        for part, amount in amounts.items():
            of_comb, of_ff = prices[kind][part] if amount else (0, 0)
            comb, ff = comb + amount * of_comb, ff + amount * of_ff
    own = Ecp5Estimate(comb, ff, sum(map(multipliers, unit.products)), sum(map(block_rams, unit.memories)))
    return sum(map(estimate, unit.units), own)


def multipliers(products: ProductGroup) -> int:
    """MULT18X18D of products."""
    return products.count * _pieces(products.a) * _pieces(products.b)


def _pieces(bits: int) -> int:
    """Parts of an operand; what is left of it makes none where it is a single bit."""
    whole, rest = divmod(bits, MULT18_BITS)
    return whole + (rest > 1)


def block_rams(memory: UnitMemory) -> int:
    """EBR of a unit's memory."""
    if memory.style != "block":
        return 0
    if not memory.in_rows:
        return memory.count * ebr_cut(memory.words, memory.width, not memory.rom).bram18
    if memory.rom:
        rows = RowRom(memory.words, memory.width, memory.style)
        return memory.count * ebr_cut(min(rows.row, memory.words), rows.rows * memory.width, written=False).bram18
    row = RowRam(memory.words, memory.width, memory.style).row
    whole, rest = divmod(memory.words, row)
    return memory.count * (whole * ebr_cut(row, memory.width).bram18 + (ebr_cut(rest, memory.width).bram18 if rest else 0))


@lru_cache(maxsize=KEPT)
def ebr_cut(words: int, width: int, written: bool = True) -> BlockRamCut:
    """How a ``vp_ram``, or a ``vp_rom`` (not ``written``), is cut into EBR."""
    return cheapest_cut(words, width, written, ((1, EBR_COST, RAMB18_SHAPES),))


def dpr_rams(memory: UnitMemory) -> int:
    """TRELLIS_DPR16X4 of a unit's memory."""
    if memory.style != "distributed" or memory.rom:
        return 0
    return memory.count * -(-memory.words // DPR_WORDS) * -(-memory.width // DPR_WIDTH)


def memory_parts(memories: tuple[UnitMemory, ...]) -> dict[str, float]:
    """The logic beside memories: bits ``chosen`` among rows and ``rows`` of RAM in LUTs, parts of 16 words of a bit of ``weights`` and
    of another ``rom`` in LUTs, of ``deep_rom`` those of 64 words after the first, bits chosen among rows of ``block`` RAM, and bits
    ``read``.

    Weights are as good as random; the bits of programs and constants are not, and take fewer LUTs.
    """
    found = dict.fromkeys(("chosen", "rows", "rom", "weights", "deep_rom", "block", "read"), 0.0)
    for m in memories:
        found["read"] += m.count * m.width
        if m.style == "block":
            found["block"] += m.count * m.width * (ebr_cut(m.words, m.width, not m.rom).rows - 1)
        elif m.rom:
            kind = "weights" if m.holds is Holds.WEIGHTS else "rom"
            found[kind] += m.count * m.width * (-(-m.words // DPR_WORDS) if m.words > 1 else 0)
            found["deep_rom"] += m.count * m.width * (-(-m.words // MUX_WORDS) - 1)
        else:
            rows = -(-m.words // DPR_WORDS)
            found["chosen"] += m.count * m.width * (rows - 1)
            found["rows"] += m.count * rows * (rows > 1)
    return found
