"""Resources of the sparse-block matrix unit by structure, and the choice of memory styles."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from finn_vitprune.custom_ops.mvau.fold import Fold
from finn_vitprune.custom_ops.mvau.mac import Mac
from finn_vitprune.custom_ops.op.fifo_folding import credit_fifo_luts
from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT
from finn_vitprune.custom_ops.op.load_chain import hop_estimate
from finn_vitprune.custom_ops.op.memory import (
    MATRIX_MEMORY,
    Estimate,
    Holds,
    UnitMemory,
    choose_cycles,
    choose_luts,
    loaded_in_rows,
    mux_luts,
)
from finn_vitprune.custom_ops.op.requant_estimate import requant_dsps, requant_luts
from finn_vitprune.custom_ops.op.structure import UnitParts, requant_products
from finn_vitprune.numerics import clog2

RAM_STYLES = ("auto", "block", "distributed", "ultra")
"""Where the weights may be."""

CONTENTS = {
    "W": (Holds.WEIGHTS, "weights"), "P": (Holds.PROGRAM, "program of the lanes"), "C": (Holds.PROGRAM, "program of the drain"),
    "K": (Holds.TABLE, "biases and multipliers"), "X": (Holds.ROWS, "rows of X"), "R": (Holds.ROWS, "results of the lanes"),
    "O": (Holds.ROWS, "rows of Y in order"),
}  # fmt: skip
"""What the memories hold, by their letter."""

SHARED_LUTS = 60
"""Of tags and of the encoders that groups hand on, in a unit that several encoders share, beside addresses of their contents."""

CLIP_LUTS = 1.4
"""Of a bit of an output that may be clipped to fewer bits (vp_clip)."""

DRAIN_PLACES, OUTPUT_PLACES = 31, 16
"""Places of the FIFOs after the drain and, where rows are put in order, after that (vp_mvau_drain, vp_mvau_reorder)."""


def rom_shapes(f: Fold) -> dict[str, tuple[int, int, int]]:
    """Depth, width and number of the ROMs: W weights, P lanes' program, C drain program, K constants."""
    words, width, _ = f.weight_memory
    return {"W": (words, width, f.mac.chain)} | _program_shapes(f)


def _program_shapes(f: Fold) -> dict[str, tuple[int, int, int]]:
    """Those of all ROMs but the weights."""
    sub_bits = max(1, clog2(f.r_elems // f.drain_width))
    constant_bits = f.bias_bits + (f.mult_bits if f.requant else 0)
    return {
        "P": (-(-f.program_entries // f.program_per), f.program_per * f.program_bits, 1),
        "C": (f.drain_entries, 4 + sub_bits + max(1, clog2(f.lanes)) + f.r_word_bits, 1),
        "K": (f.constants, f.drain_width * constant_bits, 1),
    }


def ram_shapes(f: Fold) -> dict[str, tuple[int, int, int]]:
    """Depth, width and number of the RAMs, with their buffers: X row memories, R result banks, O rows in order."""
    return {
        "X": (*f.row_memory, f.lanes * f.tokens),
        "R": (f.buffers << f.r_word_bits, f.tokens * f.pe * f.acc_bits, f.lanes * (f.r_elems // f.pe)),
        "O": f.reorder_shape,
    }


def styles(f: Fold) -> dict[str, str]:
    """Style of each memory; ``f.ram_style`` governs the weights."""
    shapes = rom_shapes(f) | ram_shapes(f)
    return {key: MATRIX_MEMORY.style(depth, width) for key, (depth, width, _) in shapes.items()} | {"W": f.weight_memory[2]}


def memories(f: Fold) -> tuple[UnitMemory, ...]:
    """All memories with what the present mask stores in them."""
    stored = _stored(f)
    return tuple(replace(m, stored=stored[key]) for key, m in (("W", _weights(f, f.ram_style)), *_others(f).items()) if m.count) + _fifos(f)


def _weights(f: Fold, ram_style: str) -> UnitMemory:
    words, width, style = f.weight_memory_in(ram_style)
    in_rows = style == "ultra" and loaded_in_rows(words)
    return UnitMemory(*CONTENTS["W"], words, width, style, f.mac.chain, rom=True, in_rows=in_rows)


def _others(f: Fold) -> dict[str, UnitMemory]:
    """The other memories by their letter."""
    roms, rams = _program_shapes(f), ram_shapes(f)
    style = {key: MATRIX_MEMORY.style(depth, width) for key, (depth, width, _) in (roms | rams).items()}
    if style["R"] == "distributed":  # a memory of its own for each row
        depth, width, count = rams["R"]
        rams["R"] = depth, width // f.tokens, count * f.tokens
    return {
        key: UnitMemory(*CONTENTS[key], depth, width, style[key], count, rom=key in roms)
        for key, (depth, width, count) in (roms | rams).items()
    }


def _fifos(f: Fold) -> tuple[UnitMemory, ...]:
    """The FIFOs of outputs."""
    step, beat = f.rows_per_step * f.drain_width * f.y.bitwidth(), f.out_width * f.y.bitwidth()
    mark = 1 + clog2(f.rows_per_step) if f.rows_per_step > 1 else 0  # of the end of a row
    found = UnitMemory(Holds.FIFO, "outputs of the drain", DRAIN_PLACES, step + mark, "distributed")
    ordered = UnitMemory(Holds.FIFO, "beats at the output", OUTPUT_PLACES, beat, "distributed")
    return (found, ordered) if f.rows_per_step > 1 else (found,)


def _stored(f: Fold) -> dict[str, int]:
    """Bits of contents by memory: kept blocks, entries and words in use; both halves of double buffers."""
    widths = {key: width * count for key, (_, width, count) in (rom_shapes(f) | ram_shapes(f)).items()}
    words = {
        "P": -(-sum(own.entries for own in f.each) // f.program_per), "C": sum(own.timing.drain_row for own in f.each),
        "K": sum(own.mh // own.drain_width for own in f.each),
        "X": f.buffers * f.x_words, "R": f.buffers * f.r_words, "O": 2 * (f.mh // f.out_width),
    }  # fmt: skip
    kept = sum(own.schedule.kept for own in f.each)
    return {"W": kept * f.block**2 * f.w.bitwidth()} | {key: count * widths[key] for key, count in words.items()}


def resources(f: Fold) -> Estimate:
    """Part by part: arrays, memories, muxes, drain with a multiplier an output, and a little control."""
    return arrays(f) + weights(f, f.ram_style) + rest(replace(f, mac_style="portable", ram_style="auto"))


def arrays(f: Fold) -> Estimate:
    """The MAC arrays of all lanes, and the registers in which those of one kind wait for the other."""
    if not f.lut_lanes:
        return f.lanes * _array(f.mac)
    late = f.lut_mac.latency - f.mac.latency
    waits = (f.lanes - f.lut_lanes if late > 0 else f.lut_lanes) * max(0, abs(late) - 2)  # of two cycles they are no shift registers
    delays = Estimate(LUT=waits and f.tokens * f.pe * f.acc_bits)
    return (f.lanes - f.lut_lanes) * _array(f.mac) + f.lut_lanes * _array(f.lut_mac) + delays


@lru_cache(maxsize=1 << 12)
def _array(mac: Mac) -> Estimate:
    """Of a lane."""
    return Estimate(LUT=mac.lut, DSP=mac.dsp)


def weights(f: Fold, ram_style: str) -> Estimate:
    """The memories of the weights, and what loads them, in a memory of this style."""
    return _loaded(_weights(f, ram_style))


@lru_cache(maxsize=FOLDINGS_KEPT)
def _loaded(memory: UnitMemory) -> Estimate:
    """A memory, and what loads it."""
    used = memory.resources
    return used + hop_estimate(memory.words, memory.width) if memory.style == "ultra" else used


@lru_cache(maxsize=FOLDINGS_KEPT)
def rest(f: Fold) -> Estimate:
    """All else, which has no styles."""
    requant = requant_dsps(f.sum_bits, f.mult_bits) if f.requant else 0
    logic = Estimate(LUT=_choosers(f) + _drain(f) + _control(f), DSP=f.rows_per_step * f.drain_width * requant)
    return sum((memory.resources for memory in (*_others(f).values(), *_fifos(f))), logic)


@lru_cache(maxsize=FOLDINGS_KEPT)
def made_of(f: Fold) -> UnitParts:
    """The unit as a structure: of the lanes their arrays and choices of words, the drain, ports, programs."""
    step, factors = f.rows_per_step * f.drain_width, f.sum_bits + f.mult_bits if f.requant else 0
    words = [(f.tokens * f.simd * f.x.bitwidth(), f.x_elems // f.simd), (step * f.acc_bits, f.result_choices)]
    parts = {name: f.lanes * amount for name, amount in f.mac.parts.items()} | {
        "one": 1, "lanes": f.lanes, "rows": f.lanes * f.tokens * (2 * f.x_index_bits + f.r_word_bits),
        "chosen": f.lanes * sum(bits * (n - 1) for bits, n in words), "chosen_q": f.lanes * sum(bits * _fours(n) for bits, n in words),
        "of_lanes": step * f.acc_bits * (f.lanes - 1), "outputs": step * (f.acc_bits + f.sum_bits),
        "factors": step * factors, "codes": step * f.y.bitwidth(), "entries": f.program_bits * f.program_per,
        "ports": f.x_elems * f.x.bitwidth() + 2 * f.in_width * f.x.bitwidth() + f.out_width * f.y.bitwidth(),
        "rows_in_order": f.out_width * f.y.bitwidth() * (f.rows_per_step - 1), "weights": f.lanes * f.simd * f.pe * f.w.bitwidth(),
        "shared": len(f.encoders),
    }  # fmt: skip
    products = tuple(replace(product, count=f.lanes * product.count) for product in f.mac.products)
    products += requant_products(step, f.sum_bits, f.mult_bits) if f.requant else ()
    return UnitParts.of("matrix", parts, products, memories(f))


def _fours(words: int) -> int:
    """Registers of a bit in a choice of one of so many (``vp_choose``)."""
    count = 0
    for _ in range(choose_cycles(words)):
        words = -(-words // 4)
        count += words
    return count


def weight_memory_bits(f: Fold) -> int:
    """Capacity of the memories that hold the weights."""
    memory = _weights(f, f.ram_style)
    return memory.capacity or memory.bits


def _choosers(f: Fold) -> int:
    """SIMD elements of a row word, and the tokens and outputs of a step of a result word, in every lane; a program entry."""
    operands = f.tokens * f.simd * f.x.bitwidth() * choose_luts(f.x_elems // f.simd)
    results = f.rows_per_step * f.drain_width * f.acc_bits * choose_luts(f.result_choices)
    return f.lanes * (operands + results) + f.program_bits * mux_luts(f.program_per)


def _drain(f: Fold) -> int:
    """Choice of the lane, sum of bias and parts, requantisation, choice of the row."""
    order = f.out_width * f.y.bitwidth() * mux_luts(f.rows_per_step)
    step = f.rows_per_step * f.drain_width
    requant = requant_luts(f.sum_bits, f.mult_bits, f.shift, f.y.bitwidth(), f.y.signed(), f.span) if f.requant else 0
    clip = CLIP_LUTS * f.y.bitwidth() if f.clips else 0
    return round(step * (f.acc_bits * mux_luts(f.lanes) + f.sum_bits + requant + clip)) + order


def _control(f: Fold) -> int:
    """Port registers, gathering of beats into row words, counters and hand-over."""
    gather = f.x_elems // f.in_width
    ports = f.in_width * f.x.bitwidth() + credit_fifo_luts(DRAIN_PLACES)
    if f.rows_per_step > 1:
        ports += credit_fifo_luts(OUTPUT_PLACES)
    elif f.out_width > f.drain_width:
        ports += f.out_width * f.y.bitwidth()
    if f.encoders:
        ports += SHARED_LUTS + sum(map(clog2, (f.program_entries, f.weight_words, f.drain_entries)))
    return ports + (gather - 1) * f.in_width * f.x.bitwidth() + 80 + f.lanes * (4 + 2 * f.x_index_bits)
