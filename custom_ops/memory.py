"""What memories and multipliers cost: block RAM, LUTRAM, LUT ROMs and DSPs as Yosys maps them on UltraScale+."""

from __future__ import annotations

BRAM_WIDTHS = (1, 2, 4, 9, 18, 36)
"""Widths of an 18 Kbit block RAM (36 only with one read and one write port), depth 16384 / width (9 counts as 8)."""


def ram_bram18(words: int, width: int) -> int:
    """Block RAMs, in units of 18 Kbit, of a RAM or ROM of ``words`` times ``width`` bits."""
    return min(_grid(words, width, w, factor) for w in BRAM_WIDTHS for factor in (1, 2))


def _grid(words: int, width: int, unit: int, factor: int) -> int:
    depth = 16384 * 8 // (unit * 8 // 9 * 9 if unit < 9 else unit // 9 * 8) // 8
    return factor * -(-words // (depth * factor)) * -(-width // unit)


def rom_bram18(words: int, width: int, style: str) -> int:
    """Block RAMs, in units of 18 Kbit, of a ``vp_rom``."""
    return ram_bram18(words, width) if style == "block" else 0


def rom_luts(words: int, width: int, style: str) -> int:
    """LUTs of a ``vp_rom`` with arbitrary contents: one LUT6 per 64 words and bit, joined by MUXF7 and MUXF8."""
    return 0 if style == "block" else -(-words // 64) * width


def ram_luts(words: int, width: int) -> int:
    """LUTs of a dual-port LUTRAM: 8 LUTs hold 32 words of 14 bits or 64 words of 7 bits."""
    if words <= 32:
        return 8 * -(-width // 14)
    return 8 * -(-width // 7) * -(-words // 64)


def ram_urams(words: int, width: int) -> int:
    """UltraRAMs (4,096 words of 72 bits)."""
    return -(-words // 4096) * -(-width // 72)


def multiplier_dsps(a: int, b: int) -> int:
    """DSP slices of a signed product of ``a`` by ``b`` bits (27 x 18 each)."""
    wide, narrow = max(a, b), min(a, b)
    return -(-(wide - 1) // 26) * -(-(narrow - 1) // 17)
