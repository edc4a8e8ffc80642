"""What memories and multipliers cost on UltraScale+, as Yosys maps them: block RAM, LUTRAM, LUTs, URAM, DSP.

Block RAM follows the choice of Yosys' ``memory_libmap``. A memory deeper than a RAM of one shape is cut into
rows; the rows' bits may share a RAM (in bytes of nine bits where they are written, since those have an
enable each); the cheapest shape wins, with half a unit per bit of the multiplexer between rows and per row's write enable.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from finn_vitprune.numerics import clog2

RAMB18_COST, RAMB36_COST = 129, 257
MUX_COST = 0.5
LOGIC_COST = 1 / 64  # of a bit of a ROM in LUTs
BYTE = 9
FEW_WORDS = 8
DIFFERENT_BITS = 0.78
"""LUTs per different column of bits in a ROM of few words, as measured: some are inputs or inverses."""
JOINED_TABLES = 1.44
"""LUTs per 64 words of a bit where LUTs join them, as measured from 300 to 1,500 words."""
URAM_WORDS, URAM_WIDTH = 4096, 72
BRAM18_BITS, URAM_BITS, LUTRAM_WORDS = 18 * 1024, URAM_WORDS * URAM_WIDTH, 64
LUTRAM_BITS = 64 * 7
"""Of the 8 LUTs of one LUTRAM with a port to write and one to read."""
LUTRAM_MAX_WORDS, LUTRAM_MAX_LOADS = 1024, 1024
"""Words of a memory in LUTs, and LUTs that its read address reaches; more are slow (docs/timing.md)."""
MUX_INPUTS = 4
"""Inputs of a multiplexer that is one LUT deep."""
MOST_ROWS = MUX_INPUTS**2
"""Rows that two such multiplexers choose from."""
RAMB18_SHAPES = {1: 16384, 2: 8192, 4: 4096, 9: 2048, 18: 1024, 36: 512}
RAMB36_SHAPES = {1: 32768, 2: 16384, 4: 8192, 9: 4096, 18: 2048, 36: 1024, 72: 512}
"""Depth by width of a block RAM of 18 and of 36 Kbit, one port writing, the other reading."""

DSP_MIN_PRODUCT = 9
"""Bits of the operands together from which on Yosys gives a product a DSP; narrower ones are built from LUTs."""


@dataclass(frozen=True)
class Estimate:
    """Resources by the names that FINN gives them; a block RAM of 36 Kbit counts as two of 18."""

    LUT: int = 0
    DSP: int = 0
    BRAM_18K: int = 0
    URAM: int = 0

    @property
    def amounts(self) -> tuple[int, int, int, int]:
        """What is taken of each resource, in this order."""
        return self.LUT, self.DSP, self.BRAM_18K, self.URAM

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.LUT + other.LUT, self.DSP + other.DSP, self.BRAM_18K + other.BRAM_18K, self.URAM + other.URAM)

    def __rmul__(self, count: int) -> Estimate:
        return Estimate(count * self.LUT, count * self.DSP, count * self.BRAM_18K, count * self.URAM)


class Holds(StrEnum):
    """Kinds of contents of a unit's memories."""

    WEIGHTS = "weights"
    KEYS_AND_VALUES = "keys and values"
    ROWS = "rows and sums"
    FIFO = "FIFOs"
    TABLE = "tables and constants"
    PROGRAM = "programs"


class RamKind(StrEnum):
    """What a memory is made of; a ROM in LUTs is logic, which synthesis makes smaller."""

    LUTRAM = "LUTRAM"
    LUT = "LUT ROM"
    BRAM = "BRAM"
    URAM = "URAM"


@dataclass(frozen=True)
class UnitMemory:
    """``count`` equal memories of a unit: ``words`` of ``width`` bits each, in the RAM ``style``.

    Attributes:
        holds: the kind of contents. name: what it is in the unit.
        style: "distributed", "block" or "ultra"; of a ROM also "auto".
        rom: never written, with contents that synthesis knows (not in UltraRAM, which is loaded). in_rows: a ``vp_row_ram``,
            or a ``vp_row_rom``.
        stored: bits of contents in all of them; None where these fill all words.
    """

    holds: Holds
    name: str
    words: int
    width: int
    style: str
    count: int = 1
    rom: bool = False
    in_rows: bool = False
    stored: int | None = None

    @property
    def resources(self) -> Estimate:
        """What they take, with the multiplexer after each that is deep."""
        if self.in_rows:
            known = self.rom and self.style != "ultra"  # what lies in UltraRAM is loaded
            return self.count * (RowRom if known else RowRam)(self.words, self.width, self.style).resources
        return self.count * (rom_estimate if self.rom else ram_estimate)(self.words, self.width, self.style)

    @property
    def kind(self) -> RamKind:
        used = self.resources
        if used.URAM or used.BRAM_18K:
            return RamKind.URAM if used.URAM else RamKind.BRAM
        return RamKind.LUT if self.rom else RamKind.LUTRAM

    @property
    def bits(self) -> int:
        """Bits of contents."""
        return self.count * self.words * self.width if self.stored is None else self.stored

    @property
    def capacity(self) -> int | None:
        """Bits of the block RAMs, UltraRAMs or LUTRAMs that are taken; None of a ROM in LUTs."""
        if self.kind == RamKind.LUT:
            return None
        if self.kind == RamKind.LUTRAM:
            return self.count * lutram_rams(self.words, self.width) * LUTRAM_BITS
        return self.resources.BRAM_18K * BRAM18_BITS + self.resources.URAM * URAM_BITS


@dataclass(frozen=True)
class MemoryPolicy:
    """Where "auto" puts a memory: in LUTs up to ``words`` words, or up to ``bits`` bits in at most ``bits_words`` words.

    Everything larger goes to block RAM.
    """

    words: int = 64
    bits: int = 0
    bits_words: int = 1024

    def style(self, words: int, width: int, wanted: str = "auto") -> str:
        """``wanted``, with "auto" resolved to "distributed" or "block"."""
        if wanted != "auto":
            return wanted
        small = words <= self.bits_words and words * width <= self.bits
        return "distributed" if words <= self.words or small else "block"


TABLE_MEMORY = MemoryPolicy()
"""Tables and sums: one LUT6 a bit."""
FIFO_MEMORY = MemoryPolicy(bits=1024)
"""As ``vp_fifo`` has it."""
MATRIX_MEMORY = MemoryPolicy(bits=4095, bits_words=256)
"""Memories of the matrix unit; more words in LUTs would be slow."""
ATTENTION_MEMORY = MemoryPolicy(words=128)
"""Keys, values and the rows that wait for their scores."""


def read_latency(words: int, style: str) -> int:
    """Cycles of a read of a memory that is "distributed", "block" or "ultra" (READ_LATENCY in the RTL).

    LUTRAM has its register. Block RAM and UltraRAM have another at their output. A multiplexer between UltraRAMs has
    one of its own, and two where it is more than one LUT deep.
    """
    if style == "ultra":
        rows = -(-words // URAM_WORDS)
        return 2 if rows == 1 else 3 if rows <= MUX_INPUTS else 4
    return 2 if style == "block" else 1


def loaded_in_rows(words: int) -> bool:
    """Whether a ``vp_loaded_ram`` in UltraRAM is a ``vp_row_ram``, of which one word comes every :func:`read_latency` of 4."""
    return MUX_INPUTS * URAM_WORDS < words <= 18 * URAM_WORDS


def ram_is_fast(words: int, width: int, style: str) -> bool:
    """Whether a ``vp_ram`` keeps to the limits of timing (docs/timing.md).

    One LUT joins its rows of block RAMs or UltraRAMs; in LUTs neither its address nor its multiplexer is wide.
    """
    if style == "distributed":
        return words <= LUTRAM_MAX_WORDS and 7 * lutram_rams(words, width) <= LUTRAM_MAX_LOADS
    return (block_ram_cut(words, width).rows if style == "block" else -(-words // URAM_WORDS)) <= MUX_INPUTS


def fifo_ram(depth: int, width: int, wanted: str = "auto") -> tuple[int, int, str]:
    """Words, bits and style of the RAM of a ``vp_fifo`` deeper than two; its read registers hold the other beats."""
    style = "distributed" if depth == 3 else FIFO_MEMORY.style(depth, width, wanted)
    return depth - read_latency(depth, style), width, style


@lru_cache(maxsize=1 << 14)
def ram_estimate(words: int, width: int, style: str) -> Estimate:
    """A ``vp_ram`` that is "distributed", "block" or "ultra", and the multiplexer after it where it is deep."""
    luts = {"distributed": lutram_luts, "block": bram_luts, "ultra": uram_luts}[style](words, width)
    return Estimate(
        LUT=luts, BRAM_18K=ram_bram18(words, width) if style == "block" else 0, URAM=ram_urams(words, width) if style == "ultra" else 0
    )


_ROWS = sorted({depth for shapes in (RAMB18_SHAPES, RAMB36_SHAPES) for depth in shapes.values()})


@dataclass(frozen=True)
class _Rows(ABC):
    """A deep memory in rows of ``row`` words, of which one is taken after registers, in ``choice_cycles``."""

    words: int
    width: int
    style: str

    @property
    @abstractmethod
    def row(self) -> int:
        """Words of a row."""

    @property
    @abstractmethod
    def choice_cycles(self) -> int:
        """Registers of the choice."""

    @property
    def rows(self) -> int:
        return -(-self.words // self.row)

    @property
    def latency(self) -> int:
        """Cycles of a read: the memory, its output register, the choice."""
        return (1 if self.style == "distributed" else 2) + self.choice_cycles


@dataclass(frozen=True)
class RowRam(_Rows):
    """A ``vp_row_ram``, where no multiplexer lies behind a RAM: rows of :attr:`row` words are joined after registers."""

    @property
    def row(self) -> int:
        """Words of a row (ROW in the RTL), which Yosys does not cut again: the fewest block RAMs, of these the fewest rows."""
        if self.style == "block":
            whole = [row for row in _ROWS if block_ram_cut(min(row, self.words), self.width).rows == 1]
            return min(self.words, min(whole, key=lambda row: (self._bram18(row), -(-self.words // row))))
        return min(self.words, URAM_WORDS) if self.style == "ultra" else self.words

    def _bram18(self, row: int) -> int:
        whole, rest = divmod(self.words, row)
        return whole * ram_bram18(row, self.width) + (ram_bram18(rest, self.width) if rest else 0)

    @property
    def groups(self) -> int:
        """Rows after the first LUT."""
        return -(-self.rows // (3 if self.style == "ultra" else 6))

    @property
    def choice_cycles(self) -> int:
        """A register after each LUT that joins rows."""
        return (self.rows > 1) + (self.groups > 1)

    @property
    def resources(self) -> Estimate:
        """Each bit takes a LUT for each group of rows, and one that joins groups; a row has an enable and is chosen."""
        if self.rows == 1:
            return ram_estimate(self.words, self.width, self.style)
        luts = self.width * (self.groups + (self.groups > 1)) + 2 * self.rows
        if self.style == "ultra":
            return Estimate(LUT=luts, URAM=ram_urams(self.words, self.width))
        return Estimate(LUT=luts, BRAM_18K=self._bram18(self.row))

    @property
    def capacity(self) -> int:
        """Bits of the block RAMs or UltraRAMs, or of LUTRAM in rows of 64 words."""
        return _capacity(self.resources, self.words, self.width)


@dataclass(frozen=True)
class RowRom(_Rows):
    """A ``vp_row_rom``, where no multiplexer lies behind a RAM: rows of :attr:`row` words are chosen from after registers."""

    @property
    def row(self) -> int:
        """Words of a row (ROW in the RTL): the fewest block RAMs that Yosys does not cut again, of these the fewest rows."""
        if self.style != "block":
            return self.words
        whole = [row for row in _ROWS if self._cut(row).rows == 1 and -(-self.words // row) <= MOST_ROWS]
        best = min(whole, key=lambda row: (self._cut(row).bram18, -row), default=self.words)
        return min(self.words, best)

    def _cut(self, row: int) -> BlockRamCut:
        return block_ram_cut(min(row, self.words), -(-self.words // row) * self.width, written=False)

    def side_by_side(self, words: np.ndarray) -> np.ndarray:
        """Words ``[words, elements]`` as the RAM has them, ``[row, rows * elements]``: all rows side by side."""
        padded = np.zeros((self.rows * self.row, words.shape[-1]), np.int64)
        padded[: self.words] = words
        return padded.reshape(self.rows, self.row, -1).swapaxes(0, 1).reshape(self.row, -1)

    @property
    def choice_cycles(self) -> int:
        """Those of ``vp_choose``, which is a register for one row."""
        return 0 if self.style == "distributed" else choose_cycles(self.rows)

    @property
    def resources(self) -> Estimate:
        """The ROM, and a choice for each bit."""
        if self.rows == 1:
            return rom_estimate(self.words, self.width, self.style)
        return Estimate(LUT=self.width * choose_luts(self.rows), BRAM_18K=self._cut(self.row).bram18)


def _capacity(used: Estimate, words: int, width: int) -> int:
    rows = -(-words // LUTRAM_WORDS)
    return used.BRAM_18K * BRAM18_BITS + used.URAM * URAM_BITS or rows * LUTRAM_WORDS * width


@lru_cache(maxsize=1 << 14)
def rom_estimate(words: int, width: int, style: str) -> Estimate:
    """A ``vp_rom``; in UltraRAM, which has no initial contents, a ``vp_ram``."""
    if style == "ultra":
        return ram_estimate(words, width, style)
    return Estimate(LUT=rom_luts(words, width, style), BRAM_18K=rom_bram18(words, width, style))


def ram_bram18(words: int, width: int) -> int:
    """Block RAMs, in units of 18 Kbit, of a ``vp_ram`` in block RAM."""
    return block_ram_cut(words, width).bram18


def rom_bram18(words: int, width: int, style: str) -> int:
    """Block RAMs, in units of 18 Kbit, of a ``vp_rom``."""
    return block_ram_cut(words, width, written=False).bram18 if _in_block(words, width, style) else 0


def rom_luts(words: int, width: int, style: str) -> int:
    """LUTs of a ``vp_rom`` with arbitrary contents, or of the multiplexer after its block RAMs.

    A LUT6 holds 64 words of a bit, MUXF7 and MUXF8 join four of them; more are joined by LUTs. Of the bits of
    few words many are equal or need no LUT.
    """
    if words == 1:
        return 0
    if _in_block(words, width, style):
        return block_ram_cut(words, width, written=False).rows // 2 * width
    if words <= FEW_WORDS:
        different = 1 << words
        return round(min(width, DIFFERENT_BITS * different * (1 - math.exp(-width / different))))
    tables = -(-words // 64)
    return round(tables * (1 if tables <= 4 else JOINED_TABLES) * width)


def lutram_luts(words: int, width: int) -> int:
    """LUTs of a dual-port LUTRAM; rows of 64 words take a write enable and an input of the multiplexer each."""
    rows = -(-words // LUTRAM_WORDS)
    return 8 * lutram_rams(words, width) + (rows > 1) * (mux_luts(rows) * width + rows)


def lutram_rams(words: int, width: int) -> int:
    """LUTRAMs of 8 LUTs each, which hold 32 words of 14 bits or 64 words of 7 bits."""
    return -(-width // 14) if words <= 32 else -(-words // LUTRAM_WORDS) * -(-width // 7)


def mux_luts(inputs: int) -> int:
    """LUTs of one bit of a multiplexer, as measured: from nine inputs on Yosys needs more than a tree of LUT6 has."""
    if inputs <= 4:
        return int(inputs > 1)
    if inputs <= 8:
        return -(-inputs // 3)
    return 6 if inputs <= 16 else round(0.52 * inputs)


def choose_cycles(words: int) -> int:
    """Cycles of a choice of one of ``words`` (LATENCY of ``vp_choose``)."""
    return max(1, -(-clog2(words) // 2))


def choose_luts(words: int) -> int:
    """LUTs of one bit of it, one for up to four words."""
    luts = 0
    while words > 1:
        luts += words // 4 + (words % 4 > 1)
        words = -(-words // 4)
    return luts


def bram_luts(words: int, width: int) -> int:
    """LUTs of the multiplexer after the block RAMs of a deep ``vp_ram``."""
    rows = block_ram_cut(words, width).rows
    return (rows - 1) * width // 2 + rows if rows > 1 else 0


def uram_luts(words: int, width: int) -> int:
    """LUTs of the multiplexer after the UltraRAMs of a deep ``vp_ram``."""
    rows = -(-words // URAM_WORDS)
    return -(-rows // MUX_INPUTS) * width if rows > 1 else 0


def ram_urams(words: int, width: int) -> int:
    """UltraRAMs: 4,096 words of 72 bits. Rows of 4,096 words may share one, in its bytes of nine or of eight bits."""
    rows = -(-words // URAM_WORDS)
    return min(-(-rows * -(-width // byte) * byte // URAM_WIDTH) for byte in (8, 9))


def multiplier_dsps(a: int, b: int) -> int:
    """DSP slices of a signed product of ``a`` by ``b`` bits (27 x 18 each)."""
    wide, narrow = max(a, b), min(a, b)
    return -(-(wide - 1) // 26) * -(-(narrow - 1) // 17)


class BlockRamCut(NamedTuple):
    """How a memory is cut into block RAMs: Yosys' cost, units of 18 Kbit, rows of RAMs after one another."""

    cost: float
    bram18: int
    rows: int


@lru_cache(maxsize=1 << 14)
def block_ram_cut(words: int, width: int, written: bool = True) -> BlockRamCut:
    """How a ``vp_ram``, or a ``vp_rom`` (not ``written``), in block RAM is cut: into RAMs of the cheapest shape."""
    return cheapest_cut(words, width, written, ((1, RAMB18_COST, RAMB18_SHAPES), (2, RAMB36_COST, RAMB36_SHAPES)))


def cheapest_cut(words: int, width: int, written: bool, rams: Sequence[tuple[int, int, Mapping[int, int]]]) -> BlockRamCut:
    """The cheapest of the ways in which ``memory_libmap`` may cut a memory.

    Args:
        rams: that the family has: units of 18 Kbit, Yosys' cost, depth by width.
    """
    choices = []
    for unit, cost, shapes in rams:
        for bits, depth in shapes.items():
            rows = -(-words // depth)
            if not written:
                count = -(-rows * width // bits)
            elif bits < BYTE:
                count = rows * -(-width // bits)
            else:
                count = -(-rows * -(-width // BYTE) * BYTE // bits)
            choices.append(BlockRamCut(count * cost + MUX_COST * (width + written) * (rows - 1), count * unit, rows))
    return min(choices)


@lru_cache(maxsize=1 << 14)
def _in_block(words: int, width: int, style: str) -> bool:
    """Whether a ROM goes into block RAM; "auto" weighs it against LUTs, one word is a constant."""
    if words == 1:
        return False
    if style == "auto":
        return block_ram_cut(words, width, written=False).cost <= words * width * LOGIC_COST
    return style == "block"
