"""Latency and resources of ``vp_requant``, the requantiser in other units."""

from __future__ import annotations


def requant_dsps(acc_bits: int, mult_bits: int) -> int:
    """DSP slices of a lane: the accumulator is cut where it exceeds an operand (``vp_multiply``)."""
    return -(-(acc_bits - 1) // _cut(mult_bits))


def requant_cycles(acc_bits: int, mult_bits: int, span: int = 0) -> int:
    """Cycles through it (``LATENCY``)."""
    return 4 + requant_dsps(acc_bits, mult_bits) + (span > 0)


def requant_luts(acc_bits: int, mult_bits: int, shift: int, out_bits: int, signed: bool, span: int = 0) -> int:
    """LUTs of a lane: sums of a product in parts, shifts by up to ``span``, whether to round up, whether in range, code with
    saturation.
    """
    parts, cut = requant_dsps(acc_bits, mult_bits), _cut(mult_bits)
    sums = sum(min(cut + 1, acc_bits - i * cut) + mult_bits + 2 for i in range(1, parts))
    product = acc_bits + mult_bits + span
    sums += shift_luts(product, span)
    up = min(shift, product) + 1 + out_bits  # bits that decide
    above = max(0, product - shift - out_bits + signed)  # whether one of them is 1, whether one is 0
    return sums + -(-(up - 1) // 5) + 2 * above // 5 + 2 + out_bits + 1


def shift_luts(bits: int, span: int) -> int:
    """LUTs of a shift of ``bits`` by 0 to ``span``, as measured: a LUT a bit for each two bits of the distance, and what the ends take."""
    distance = span.bit_length()
    return round(bits * (distance / 2 if distance > 3 else -(-distance // 2))) + span


def _cut(mult_bits: int) -> int:
    """Bits of an accumulator's part beside its sign (``CUT``)."""
    return 17 if mult_bits > 17 else 26
