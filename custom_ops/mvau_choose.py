"""Chooses the folding of a sparse-block matrix unit for a target interval."""

from __future__ import annotations

from dataclasses import dataclass

from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.base import divisors
from finn_vitprune.custom_ops.mvau_fold import TOKENS_CHOICES, Fold, block_atoms
from finn_vitprune.custom_ops.mvau_mac import clog2

MAX_LANES = 32
LUT_PER_PRODUCT = {"portable": 20, "dsp48e2": 4, "lut": 25}
LUT_PER_BRAM36 = 300
"""Weights of the search: a RAMB36 costs as much as so many LUTs (their ratio on common UltraScale+ parts)."""

BRAM_WIDTH = 72
LUTRAM_BITS = 32
"""Bits of a dual-port LUTRAM per LUT."""


@dataclass(frozen=True)
class Choice:
    """A folding and what it costs in LUT equivalents; ``cycles`` is its compute interval."""

    simd: int
    pe: int
    tokens: int
    lanes: int
    cycles: int
    cost: float


def choose(op, interval: int) -> dict[str, int]:
    """Cheapest ``SIMD``, ``PE``, ``TOKENS``, ``LANES`` and port widths within ``interval`` cycles.

    Compute cycles come from the kept blocks; ports are then made just wide enough. Where no folding
    reaches the interval, the fastest one is returned.
    """
    get = op.get_nodeattr
    rows, block = get("tokens"), get("block")
    kept = max(1, op.schedule().kept)
    choices = [
        _choice(op, kept, simd, pe, tokens, interval)
        for tokens in TOKENS_CHOICES
        if tokens <= 1 << clog2(rows)
        for simd in divisors(block)
        for pe in divisors(block)
    ]
    reached = [c for c in choices if c.cycles <= interval]
    if reached:
        best = min(reached, key=lambda c: (c.cost, c.cycles))
    else:
        best = min(choices, key=lambda c: (c.cycles, c.cost))
    fold = {"SIMD": best.simd, "PE": best.pe, "TOKENS": best.tokens, "LANES": best.lanes}
    return fold | _ports(op, fold, max(interval, best.cycles))


def _choice(op, kept: int, simd: int, pe: int, tokens: int, interval: int) -> Choice:
    get = op.get_nodeattr
    block, groups = get("block"), -(-get("tokens") // tokens)
    per_block = groups * (block // simd) * (block // pe)
    lanes = min(max(1, -(-kept // max(1, interval // per_block))), kept, MAX_LANES)
    atoms = block_atoms(block // simd, lanes, -(-kept // lanes))
    cycles = per_block // atoms * -(-kept * atoms // lanes)
    x_bits, w_bits = (DataType[get(k)].bitwidth() for k in ("inputDataType", "weightDataType"))
    acc_bits = x_bits + w_bits + clog2(get("MW"))
    word = simd * pe * lanes * w_bits
    depth = -(-kept // lanes) * (block // simd) * (block // pe)
    memory = LUT_PER_BRAM36 * -(-word // BRAM_WIDTH) * max(1, depth / 512)
    if depth <= 64:
        memory = word * depth / 64
    buffers = (2 * lanes * tokens * get("MW") * x_bits + 2 * tokens * get("MH") * acc_bits) / LUTRAM_BITS
    products = LUT_PER_PRODUCT[get("mac_body")] * simd * pe * tokens * lanes
    return Choice(simd, pe, tokens, lanes, cycles, products + memory + buffers)


def _ports(op, fold: dict[str, int], interval: int) -> dict[str, int]:
    """Narrowest ports that do not slow the unit beyond ``interval``; the widest where none suffices."""
    get = op.get_nodeattr
    ins = Fold.in_widths(get("MW"), fold["SIMD"])
    outs = Fold.out_widths(get("MH"), fold["PE"], get("block"))
    before = {k: get(k) for k in (*fold, "in_width", "out_width")}

    def cycles(in_width: int, out_width: int) -> int:
        for name, value in (fold | {"in_width": in_width, "out_width": out_width}).items():
            op.set_nodeattr(name, value)
        return op.get_exp_cycles()

    try:
        floor = max(interval, cycles(ins[-1], outs[-1]))
        in_width = next(w for w in ins if cycles(w, outs[-1]) <= floor)
        out_width = next(w for w in outs if cycles(in_width, w) <= floor)
    finally:
        for name, value in before.items():
            op.set_nodeattr(name, value)
    return {"in_width": in_width, "out_width": out_width}
