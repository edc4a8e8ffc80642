"""Resources of the sparse-block matrix unit by structure, and the choice of memory styles."""

from __future__ import annotations

import math

from finn_vitprune.custom_ops.memory import (
    bram_luts,
    lutram_luts,
    multiplier_dsps,
    ram_bram18,
    ram_urams,
    rom_bram18,
    rom_luts,
    uram_luts,
)
from finn_vitprune.custom_ops.mvau_fold import MIN_DATA, Fold
from finn_vitprune.custom_ops.mvau_mac import clog2

DIFFERENT_BITS = 0.78
"""LUTs per different column of bits in a ROM of eight words, as measured: some are inputs or inverses."""

BANK_ROM_BITS = 32
"""Bits of the banks of one ROM that a LUT holds, as measured: narrow ROMs map better than a wide one."""


SHALLOW = {"W": 16, "P": 32, "C": 32, "K": 32, "X": 64, "R": 64, "O": 64}
"""Words of each memory (names as in :func:`rom_shapes`) up to which it is in LUTs, whatever its width."""

RAM_STYLES = ("auto", "block", "distributed", "ultra")
"""Where the weights may be."""

BRAM18_BITS = 18 * 1024
URAM_BITS = 288 * 1024

SMALL_BITS = 4096
"""Memories of fewer bits are in LUTs, whatever their depth."""


def memory_style(key: str, depth: int, width: int) -> str:
    """Style of a memory that nobody chose one for."""
    return "distributed" if depth <= SHALLOW[key] or depth * width < SMALL_BITS else "block"


def rom_shapes(f: Fold) -> dict[str, tuple[int, int, int]]:
    """Depth, width and number of the ROMs: W weights, P lanes' program, C collect program, K constants."""
    sub_bits = max(1, clog2(f.r_elems // f.collect_width))
    constant_bits = f.bias_bits + (f.mult_bits if f.requant else 0)
    banks = f.mac.chain
    return {
        "W": (f.weight_words, f.lanes * f.simd // banks * f.pe * f.w.bitwidth(), banks),
        "P": (f.program_entries, 1 + f.lanes * (1 + f.x_index_bits), 1),
        "C": (f.collect_entries, 3 + sub_bits + max(1, clog2(f.lanes)) + f.r_word_bits, 1),
        "K": (f.constants, f.collect_width * constant_bits, 1),
    }


def ram_shapes(f: Fold) -> dict[str, tuple[int, int, int]]:
    """Depth, width and number of the RAMs, two buffers each: X row memories, R result banks, O rows in order."""
    return {
        "X": (2 << max(1, clog2(f.x_words)), f.x_elems * f.x.bitwidth(), f.lanes * f.tokens),
        "R": (2 << f.r_word_bits, f.tokens * f.pe * f.acc_bits, f.lanes * (f.r_elems // f.pe)),
        "O": f.order_shape,
    }


def styles(f: Fold, ram_style: str) -> dict[str, str]:
    """Style of each memory; ``ram_style`` governs the weights."""
    shapes = rom_shapes(f) | ram_shapes(f)
    chosen = {} if ram_style == "auto" else {"W": ram_style}
    return {key: memory_style(key, *shape) for key, (*shape, _) in shapes.items()} | chosen


def dsp(f: Fold) -> int:
    """Multipliers of the arrays, and one a requantised output."""
    requant = multiplier_dsps(f.sum_bits, f.mult_bits + 1) if f.requant else 0
    return f.lanes * f.mac.dsp + f.collect_rows * f.collect_width * requant


def bram18(f: Fold, ram_style: str) -> int:
    """RAMB18 (a RAMB36 counts two) of the memories that are in block RAM."""
    style = styles(f, ram_style)
    roms = sum(count * rom_bram18(*shape, style[key]) for key, (*shape, count) in rom_shapes(f).items())
    rams = [shape for key, shape in ram_shapes(f).items() if style[key] == "block"]
    return roms + sum(count * ram_bram18(depth, width) for depth, width, count in rams)


def uram(f: Fold, ram_style: str) -> int:
    """UltraRAMs of the weights."""
    depth, width, count = rom_shapes(f)["W"]
    return count * ram_urams(depth, width) if ram_style == "ultra" else 0


def weight_memory_bits(f: Fold, ram_style: str) -> int:
    """Capacity of the memories that hold the weights."""
    depth, width, count = rom_shapes(f)["W"]
    style = styles(f, ram_style)["W"]
    if style == "ultra":
        return uram(f, ram_style) * URAM_BITS
    return count * (rom_bram18(depth, width, style) * BRAM18_BITS or depth * width)


def lut(f: Fold, ram_style: str) -> int:
    """LUTs part by part: arrays, memories, choosers, collect stage, and a little control."""
    return f.lanes * f.mac.lut + _memories(f, ram_style) + _choosers(f) + _collect(f) + _control(f)


def _mux(inputs: int) -> int:
    """LUT6 of one bit of a multiplexer (MUXF7 and MUXF8 join them)."""
    return 0 if inputs == 1 else -(-inputs // 4)


def _memories(f: Fold, ram_style: str) -> int:
    """LUTs that are memories, and the multiplexers behind block RAMs that are not deep enough."""
    style = styles(f, ram_style)
    total = 0
    for key, (depth, width, count) in rom_shapes(f).items():
        if style[key] == "distributed":
            total += _logic_roms(depth, width, count)
        elif style[key] == "ultra":
            total += count * uram_luts(depth, width) + _load(depth, width, count)
        else:
            total += count * rom_luts(depth, width, "block")
    for key, (depth, width, count) in ram_shapes(f).items():
        luts = lutram_luts if style[key] == "distributed" else bram_luts
        total += count * luts(depth, width)
    return total


def _load(depth: int, width: int, count: int) -> int:
    """vp_weight_load: handshake, the next place and its comparison, choice of the bank."""
    places = clog2(depth) + clog2(-(-width // 32)) + clog2(count)
    return 12 + 2 * places + count


def _logic_roms(depth: int, width: int, count: int) -> int:
    """ROMs in LUTs: one a bit up to 32 words, more beyond. Of the bits of eight words many are equal."""
    if depth <= MIN_DATA:
        different = 1 << depth
        return count * round(DIFFERENT_BITS * different * (1 - math.exp(-width / different)))
    if depth <= 32:
        return count * width
    if count > 1:
        return count * depth * width // BANK_ROM_BITS
    return rom_luts(depth, width, "distributed", beside_carry=True)


def _choosers(f: Fold) -> int:
    """SIMD elements of a row word, and the tokens and outputs of a step of a result word, in every lane."""
    operands = f.tokens * f.simd * f.x.bitwidth() * _mux(f.x_elems // f.simd)
    step = f.collect_rows * f.collect_width
    results = step * f.acc_bits * _mux(f.tokens * f.r_elems // step)
    return f.lanes * (operands + results)


def _collect(f: Fold) -> int:
    """Choice of the lane, sum of bias and parts, requantisation, choice of the row."""
    order = f.out_width * f.y.bitwidth() * _mux(f.collect_rows)
    step = f.collect_rows * f.collect_width
    return step * (f.acc_bits * _mux(f.lanes) + f.sum_bits + _requant(f)) + order


def _requant(f: Fold) -> int:
    """vp_requant, one output: the tie rule, and saturation unless the product cannot leave the range."""
    if not f.requant:
        return 0
    product = f.sum_bits + f.mult_bits
    if product - f.shift <= f.y.bitwidth():
        return f.shift // 5 + 3
    return 2 * f.y.bitwidth() + product // 5


def _control(f: Fold) -> int:
    """Port registers, gathering of beats into row words, counters and hand-over."""
    gather = f.x_elems // f.in_width
    ports = f.in_width * f.x.bitwidth() + f.out_width * f.y.bitwidth()
    return ports + (gather - 1) * f.in_width * f.x.bitwidth() + 80 + f.lanes * (4 + 2 * f.x_index_bits)
