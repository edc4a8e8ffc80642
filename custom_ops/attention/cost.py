"""Resources of the attention unit by structure: DSP and memories exactly, LUTs module by module."""

from __future__ import annotations

from finn_vitprune.custom_ops.attention.timing import AttentionTiming
from finn_vitprune.custom_ops.op.memory import DSP_MIN_PRODUCT, Holds, UnitMemory, multiplier_dsps, rom_luts
from finn_vitprune.custom_ops.op.requant_estimate import requant_dsps, shift_luts
from finn_vitprune.custom_ops.op.structure import ProductGroup, UnitParts, requant_products
from finn_vitprune.numerics import MULT_BITS, RECIP_BITS, clog2

FIFO_CONTROL = 12
"""LUTs of a small FIFO beside its memory."""
CREDITS = 6
"""LUTs of a ``vp_credits``."""
FRAMES = 4
"""Tags of frames that wait in a shared unit, as a rule."""


def dsp(g: AttentionTiming) -> int:
    """Two products a DSP (a last odd one alone), the requantisers, the scores."""
    lone = 1 if 2 * g.in_bits >= DSP_MIN_PRODUCT else 0
    logits = g.simd * (g.pe // 2 + g.pe % 2 * lone)
    values = g.pe * -(-g.simd // 2)
    requant = g.logit_lanes * requant_dsps(g.logit_acc_bits, MULT_BITS)
    out = g.out_lanes * requant_dsps(g.acc_bits, RECIP_BITS)
    return logits + values + requant + out + (multiplier_dsps(g.score_quotient + 1, 9) if g.scores else 0)


def lut(g: AttentionTiming) -> int:
    """Sum over the modules, without their memories."""
    common = _ports(g) + _kv(g) + _logits(g) + _values(g) + _norm(g) + (_scores(g) if g.scores else 0)
    return common + (_shared(g) if g.several else 0)


def made_of(g: AttentionTiming) -> UnitParts:
    """The unit as a structure."""
    logit_pairs, value_pairs = g.simd * (g.pe // 2), g.pe * (g.simd // 2)
    single_logits, single_values = g.simd * (g.pe % 2), g.pe * (g.simd % 2)
    # a pair of products lies in fields, in each the sum of four
    logit_field, value_field = 2 * g.in_bits + 2, g.in_bits + 10
    dots = (
        ProductGroup(logit_pairs, g.in_bits + logit_field + 1, g.in_bits), ProductGroup(single_logits, g.in_bits, g.in_bits),
        ProductGroup(value_pairs, g.in_bits + value_field + 1, 9), ProductGroup(single_values, g.in_bits, 9),
    )  # fmt: skip
    requants = requant_products(g.logit_lanes, g.logit_acc_bits, MULT_BITS) + requant_products(g.out_lanes, g.acc_bits, RECIP_BITS)
    score = requant_products(1, g.score_quotient + 1, 8) if g.scores else ()
    parts: dict[str, float] = {
        "one": 1, "scores": int(g.scores), "logits": _dot(g.pe, g.simd, g.in_bits, g.in_bits), "values": _dot(g.simd, g.pe, g.in_bits, 8),
        "fields": 2 * (2 * logit_pairs + single_logits) * logit_field + 2 * (2 * value_pairs + single_values) * value_field,
        "splits": sum(p.count * (p.a - 18 + p.b) for p in dots if p.a > 18),
        "factors": g.logit_lanes * (g.logit_acc_bits + MULT_BITS) + g.out_lanes * (g.acc_bits + RECIP_BITS),
        "divide": g.recip_bits * (2 * g.z_bits + RECIP_BITS) + (g.score_recip_bits * (2 * g.z_bits + g.score_quotient) if g.scores else 0),
        "sums": g.pe * g.logit_acc_bits + g.simd * g.acc_bits,
        "shift": (g.pe > g.logit_lanes) * g.pe * g.logit_acc_bits + (g.simd > g.out_lanes) * g.simd * g.acc_bits,
        "codes": g.pe * g.logit_bits + g.simd * g.out_bits + g.simd * g.in_bits, "banks": g.pe * clog2(g.kv_ram[0]),
        "exp": g.pe * 9, "counts": _issue(g) + clog2(g.kv_beats), "shared": _shared(g) if g.several else 0,
    }  # fmt: skip
    return UnitParts.of("attention", parts, (*dots, *requants, *score), memories(g))


def memories(g: AttentionTiming) -> tuple[UnitMemory, ...]:
    """All memories, as the modules have them; FIFOs hold one beat more in their output register."""
    codes, items = g.simd * g.in_bits, g.items_held
    tables = max(1, len(g.encoders)) << g.logit_bits
    sums = g.simd * g.acc_bits + g.spans.recip.bit_length()
    found = [
        UnitMemory(Holds.KEYS_AND_VALUES, "keys and values", *g.kv_ram, count=2 * g.pe, stored=g.kv_code_bits, in_rows=True),
        UnitMemory(Holds.ROWS, "slices of queries", 4 << clog2(g.cg), codes, "distributed"),
        UnitMemory(Holds.ROWS, "logits", g.slots * g.kg, g.pe * g.logit_bits, "distributed"),
        UnitMemory(Holds.TABLE, "exp", tables, 8, "distributed", count=g.pe, rom=True),
        UnitMemory(Holds.FIFO, "row maxima", g.slots, g.logit_bits, "distributed"),
        UnitMemory(Holds.FIFO, "sums of E V", g.groups_held, sums, "distributed"),
        _fifo("row sums", items, g.z_bits + g.tag_bits),
        _fifo("reciprocals", items, RECIP_BITS),
        _fifo("O at the output", g.out_depth + 1, g.simd * g.out_bits),
    ]
    if g.bias_bits:
        rom = g.bias_rom
        found.append(UnitMemory(Holds.TABLE, "bias", rom.words, rom.width, rom.style, rom=True, in_rows=True))
    if g.scores:
        found += [
            UnitMemory(Holds.ROWS, "rows that wait for their scores", *g.ring_ram),
            UnitMemory(Holds.ROWS, "scores", g.tokens, g.score_bits, "distributed", count=2),
            _fifo("row sums of the scores", g.score_rows + 1, g.z_bits),
            _fifo("reciprocals of the scores", g.score_rows + 1, g.score_quotient),
            _fifo("scores at the output", 5, g.score_bits),
        ]
    if g.encoders:
        found.append(_fifo("encoders of frames", FRAMES, g.tag_bits))
        found += [_fifo("encoders of the scores", g.score_rows + 1, g.tag_bits)] if g.scores else []
    return tuple(found)


def _ports(g: AttentionTiming) -> int:
    """Registers of two beats at the inputs, control of the FIFOs at the outputs."""
    return 2 * (g.simd * g.in_bits + 3) + (1 + g.scores) * (FIFO_CONTROL + CREDITS)


def _fifo(name: str, depth: int, width: int) -> UnitMemory:
    """The LUTRAM of a FIFO."""
    return UnitMemory(Holds.FIFO, name, depth - 1, width, "distributed")


def _kv(g: AttentionTiming) -> int:
    """Counters of the frame and of a part of a token, addresses (next, first of K and of V), banks of a token."""
    return 3 * CREDITS + clog2(g.kv_beats) + clog2(g.heads * g.cg) + clog2(g.cg) + 4 * clog2(g.kv_ram[0]) + 3 * g.pe + 9


def _tree(terms: int, width: int, growth: int = 2) -> int:
    """Adders of a ``vp_adder_tree`` of radix 4 (growth 0: compare and select)."""
    total, factor = 0, 1 if growth else 1.6
    while terms > 1:
        nodes = -(-terms // 4)
        width += growth
        total += round((terms - nodes) * width * factor)
        terms = nodes
    return total


def _dot(outputs: int, terms: int, a: int, b: int, lone_in_luts: bool = False) -> int:
    """``vp_attention_dot``: packing, sums of four in both fields at once, trees."""
    field = a + b + 2
    groups = -(-terms // 4)
    adders = (terms - groups) * field
    pairs = outputs // 2
    total = outputs * (adders + _tree(groups, field)) + pairs * (3 * terms + groups)
    return total + (outputs % 2 * terms * a * b if lone_in_luts else 0)


def _logits(g: AttentionTiming) -> int:
    serial = -(-g.pe // g.logit_lanes)
    shift = (g.pe - g.logit_lanes) * g.logit_acc_bits if serial > 1 else 0
    requant = g.logit_lanes * (14 + g.logit_bits)
    maximum = _tree(g.logit_lanes, g.logit_bits, 0) + round(2 * g.logit_bits)
    control = 20 + 4 * CREDITS + clog2(g.kv_ram[0]) + _issue(g) + 2 * clog2(4 * g.cg) + clog2(g.slots * g.kg)
    dot = _dot(g.pe, g.simd, g.in_bits, g.in_bits, 2 * g.in_bits < DSP_MIN_PRODUCT)
    shift += g.pe * g.logit_acc_bits
    return dot + shift + requant + maximum + control + (_bias(g) if g.bias_bits else 0)


def _bias(g: AttentionTiming) -> int:
    """Position biases: chosen at the first step of a sum, shifted by encoder, their address."""
    return g.pe * g.logit_acc_bits // 2 + _shifter(g.pe, g.bias_bits, g.spans.bias) + 4 * clog2(g.bias_rom.words)


def _values(g: AttentionTiming) -> int:
    exp = g.pe * g.logit_bits
    z = _tree(g.pe, 9) + g.z_bits
    control = 20 + clog2(g.kv_ram[0]) + _issue(g) + 4 * clog2(g.slots * g.kg)
    return exp + z + control + _dot(g.simd, g.pe, g.in_bits, 8) + g.simd * g.acc_bits


def _issue(g: AttentionTiming) -> int:
    """Counters of an item's steps, of its groups, of heads and queries."""
    return clog2(g.item_cycles) + clog2(max(g.cg, g.kg)) + clog2(g.heads) + clog2(g.queries) + 8


def _reciprocal(den: int, quotient: int, stages: int, constant: bool) -> int:
    """Two FIFOs; in each stage a subtraction, the choice of the rest, the bits that move and steps; a constant is no choice."""
    return 2 * FIFO_CONTROL + stages * (2 * den + 9 + quotient) + (-quotient if constant else den)


def _norm(g: AttentionTiming) -> int:
    serial = -(-g.simd // g.out_lanes)
    shift = (g.simd - g.out_lanes) * g.acc_bits if serial > 1 else 0
    split = requant_dsps(g.acc_bits, RECIP_BITS) > 1
    requant = g.out_lanes * (16 + g.out_bits + (31 if split else 0))
    control = 12 + CREDITS + 5 * clog2(g.groups_held)
    return shift + requant + control + _reciprocal(g.z_bits, RECIP_BITS, g.recip_bits, constant=True)


def _scores(g: AttentionTiming) -> int:
    words, width, _ = g.ring_ram
    reciprocal = _reciprocal(g.z_bits, g.score_quotient, g.score_recip_bits, constant=False)
    control = 20 + 3 * CREDITS + 2 * clog2(words) + 5 * clog2(g.tokens) + clog2(g.pe)
    return reciprocal + width - 8 + 3 * g.score_bits + control


def _shared(g: AttentionTiming) -> int:
    """What a unit of several encoders has beside: tags, tables of shapes and constants, counts that are data, shifts."""
    encoders, tag = max(1, len(g.encoders)), g.tag_bits
    tags = 4 * (tag + 3) + 2 * FIFO_CONTROL + 12  # registers of two, FIFO, fork, output
    item, rows = clog2(g.item_cycles), clog2(g.heads) + clog2(g.queries)
    counts = [
        clog2(g.heads * g.cg) + clog2(g.kv_beats), item + rows, item + clog2(g.kg) + rows, clog2(g.kg),
        *([2 * clog2(g.tokens) + clog2(g.heads)] if g.scores else []),
    ]  # fmt: skip
    constants = 2 * clog2(g.kv_ram[0]) + MULT_BITS + clog2(g.pe) + g.pe + RECIP_BITS + 8 + sum(map(int.bit_length, g.spans))
    tables = sum(rom_luts(encoders, bits, "distributed") for bits in (*counts, constants))
    logits = _shifter(g.logit_lanes, g.logit_acc_bits + MULT_BITS, g.spans.logit)
    return tags + tables + sum(counts) // 2 + logits + _shifter(g.out_lanes, g.acc_bits + RECIP_BITS, g.spans.recip)


def _shifter(lanes: int, product: int, span: int) -> int:
    """Multiplexers before the shift of ``vp_requant``."""
    return lanes * shift_luts(product + span, span)
