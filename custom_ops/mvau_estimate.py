"""Resources of the sparse-block matrix unit by structure, and the choice of memory styles."""

from __future__ import annotations

from finn_vitprune.custom_ops.memory import MATRIX_MEMORY, Estimate, multiplier_dsps, ram_estimate, rom_estimate
from finn_vitprune.custom_ops.mvau_fold import Fold
from finn_vitprune.numerics import clog2

RAM_STYLES = ("auto", "block", "distributed", "ultra")
"""Where the weights may be."""

BRAM18_BITS = 18 * 1024
URAM_BITS = 288 * 1024


def rom_shapes(f: Fold) -> dict[str, tuple[int, int, int]]:
    """Depth, width and number of the ROMs: W weights, P lanes' program, C drain program, K constants."""
    sub_bits = max(1, clog2(f.r_elems // f.drain_width))
    constant_bits = f.bias_bits + (f.mult_bits if f.requant else 0)
    banks = f.mac.chain
    return {
        "W": (f.weight_words, f.lanes * f.simd // banks * f.pe * f.w.bitwidth(), banks),
        "P": (f.program_entries, 1 + f.lanes * (1 + f.x_index_bits), 1),
        "C": (f.drain_entries, 3 + sub_bits + max(1, clog2(f.lanes)) + f.r_word_bits, 1),
        "K": (f.constants, f.drain_width * constant_bits, 1),
    }


def ram_shapes(f: Fold) -> dict[str, tuple[int, int, int]]:
    """Depth, width and number of the RAMs, two buffers each: X row memories, R result banks, O rows in order."""
    return {
        "X": (2 << max(1, clog2(f.x_words)), f.x_elems * f.x.bitwidth(), f.lanes * f.tokens),
        "R": (2 << f.r_word_bits, f.tokens * f.pe * f.acc_bits, f.lanes * (f.r_elems // f.pe)),
        "O": f.reorder_shape,
    }


def styles(f: Fold) -> dict[str, str]:
    """Style of each memory; ``f.ram_style`` governs the weights."""
    shapes = rom_shapes(f) | ram_shapes(f)
    chosen = {} if f.ram_style == "auto" else {"W": f.ram_style}
    return {key: MATRIX_MEMORY.style(*shape) for key, (*shape, _) in shapes.items()} | chosen


def resources(f: Fold) -> Estimate:
    """Part by part: arrays, memories, muxes, drain with a multiplier an output, and a little control."""
    requant = multiplier_dsps(f.sum_bits, f.mult_bits + 1) if f.requant else 0
    return _memories(f) + Estimate(
        LUT=f.lanes * f.mac.lut + _choosers(f) + _drain(f) + _control(f),
        DSP=f.lanes * f.mac.dsp + f.rows_per_step * f.drain_width * requant,
    )


def weight_memory_bits(f: Fold) -> int:
    """Capacity of the memories that hold the weights."""
    depth, width, count = rom_shapes(f)["W"]
    used = count * rom_estimate(depth, width, styles(f)["W"])
    return used.URAM * URAM_BITS + used.BRAM_18K * BRAM18_BITS or count * depth * width


def _mux(inputs: int) -> int:
    """LUT6 of one bit of a multiplexer (MUXF7 and MUXF8 join them)."""
    return 0 if inputs == 1 else -(-inputs // 4)


def _memories(f: Fold) -> Estimate:
    """The memories, and the multiplexers after block RAMs and UltraRAMs that are not deep enough."""
    style, roms = styles(f), rom_shapes(f)
    total = Estimate(LUT=_load(*roms["W"]) if style["W"] == "ultra" else 0)
    for shapes, estimate in ((roms, rom_estimate), (ram_shapes(f), ram_estimate)):
        for key, (depth, width, count) in shapes.items():
            total += count * estimate(depth, width, style[key])
    return total


def _load(depth: int, width: int, count: int) -> int:
    """vp_weight_loader: handshake, the next place and its comparison, choice of the bank."""
    places = clog2(depth) + clog2(-(-width // 32)) + clog2(count)
    return 12 + 2 * places + count


def _choosers(f: Fold) -> int:
    """SIMD elements of a row word, and the tokens and outputs of a step of a result word, in every lane."""
    operands = f.tokens * f.simd * f.x.bitwidth() * _mux(f.x_elems // f.simd)
    step = f.rows_per_step * f.drain_width
    results = step * f.acc_bits * _mux(f.tokens * f.r_elems // step)
    return f.lanes * (operands + results)


def _drain(f: Fold) -> int:
    """Choice of the lane, sum of bias and parts, requantisation, choice of the row."""
    order = f.out_width * f.y.bitwidth() * _mux(f.rows_per_step)
    step = f.rows_per_step * f.drain_width
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
