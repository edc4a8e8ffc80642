"""Resource estimates of ops against Yosys, on shapes drawn at test time: DSP, BRAM, URAM exact, LUT within 20 %.

LayerNorm, token drop and attention have this check in tests of their own.

The seed is in the test's name and can be changed with ``VITPRUNE_ESTIMATE_SEED``.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from finn_vitprune.synth.yosys import synth_node
from tests.rtl.benches.helper import PART, build_node
from tests.rtl.benches.shared_helper import Use, generate_shared
from tests.sampling import spread

SEED = int(os.environ.get("VITPRUNE_ESTIMATE_SEED", "1"))
SHARE, SMALL = 0.2, 10
"""LUT may be off by this share, or by this many LUTs where the op is tiny."""
PRODUCTS = 64
"""Most products a cycle of a matrix unit that is drawn: Yosys takes minutes for more."""

Draw = Callable[[np.random.Generator], tuple[dict, list[np.ndarray]]]


@dataclass(frozen=True)
class Shape:
    """A channel count and a fold of it, drawn."""

    tokens: int
    channels: int
    simd: int

    @property
    def attrs(self) -> dict[str, int]:
        return {"tokens": self.tokens, "channels": self.channels, "SIMD": self.simd}


def shape(rng: np.random.Generator, most: int = 16) -> Shape:
    simd = int(rng.choice([s for s in (1, 2, 4, 8, 16) if s <= most]))
    return Shape(int(rng.integers(3, 60)), simd * int(rng.choice([3, 4, 8, 12])), simd)


def narrow(rng: np.random.Generator) -> str:
    return str(rng.choice(["INT4", "INT8", "UINT4", "UINT8"]))


def fork(rng):
    return shape(rng).attrs | {"inputDataType": str(rng.choice(["INT8", "INT16"]))}, []


def crossing(rng):
    codes = str(rng.choice(["INT4", "INT8", "INT16"]))
    return shape(rng).attrs | {"stages": int(rng.integers(1, 8)), "inputDataType": codes}, []


def load_port(rng):
    attrs = {"words": int(rng.integers(1, 1 << 24)), "design": int(rng.integers(0, 1 << 32)), "inputDataType": narrow(rng)}
    return shape(rng).attrs | attrs, []


def load_end(rng):
    return shape(rng).attrs | {"inputDataType": str(rng.choice(["INT8", "INT16"]))}, []


def frame_check(rng):
    return shape(rng).attrs | {"each": int(rng.integers(0, 2)), "inputDataType": narrow(rng)}, []


def add(rng):
    return shape(rng).attrs, []


def split(rng):
    s = shape(rng)
    return s.attrs | {"first": s.simd * int(rng.integers(1, s.channels // s.simd)), "inputDataType": narrow(rng)}, []


def shared_split(rng):
    """Two to five encoders; some have both parts of their first token alone."""
    simd, codes = int(rng.choice([1, 2, 4, 8])), narrow(rng)
    uses = []
    for _ in range(int(rng.integers(2, 6))):
        beats = int(rng.integers(2, 40))
        attrs = {"tokens": int(rng.integers(1, 60)), "channels": simd * beats, "first": simd * int(rng.integers(1, beats))}
        uses.append(Use(attrs | {"first_tokens": int(rng.integers(0, 2)), "SIMD": simd, "inputDataType": codes}))
    return uses


def select(rng):
    s = shape(rng)
    return s.attrs | {"index": int(rng.integers(0, s.tokens)), "inputDataType": "INT16"}, []


def mean(rng):
    """Shifts and multipliers near one over the number of tokens; sums in LUTRAM and in block RAM."""
    s = shape(rng, most=8)
    source, first = str(rng.choice(["INT8", "INT16"])), int(rng.integers(0, 3))
    mult = int(rng.choice([1 << 16, int(rng.integers(1 << 16, 1 << 17))]))
    attrs = {"first": first, "mult": mult, "shift": 16 + (s.tokens - first - 1).bit_length()}
    attrs |= {"inputDataType": source, "outputDataType": source}
    return s.attrs | attrs | {"ram_style": str(rng.choice(["auto", "block"]))}, []


def embed(rng):
    s = shape(rng, most=8)
    attrs = {"tokens_in": s.tokens, "prefix": int(rng.integers(1, 3)), "channels": s.channels, "SIMD": s.simd}
    return attrs, [np.zeros((attrs["prefix"], s.channels)), np.zeros((attrs["prefix"] + s.tokens, s.channels))]


def lookup(rng):
    source = narrow(rng)
    attrs = {"inputDataType": source, "outputDataType": "INT8", "ram_style": str(rng.choice(["distributed", "block"]))}
    return shape(rng, most=8).attrs | attrs, [np.zeros(16 if source.endswith("4") else 256)]


def shared_lookup(rng):
    """Two to five encoders, each with a table."""
    source = narrow(rng)
    simd, style = int(rng.choice([1, 2, 4, 8])), str(rng.choice(["distributed", "block"]))
    attrs = {"SIMD": simd, "inputDataType": source, "outputDataType": "INT8", "ram_style": style}
    table = np.zeros(16 if source.endswith("4") else 256)
    shapes = rng.integers(1, 60, (int(rng.integers(2, 6)), 2)).tolist()
    return [Use(attrs | {"tokens": tokens, "channels": simd * beats}, (table,)) for tokens, beats in shapes]


def gate(rng):
    source = str(rng.choice(["INT4", "INT8"]))
    simd = int(rng.choice([2, 4, 8, 16]))
    attrs = {"inputDataType": source, "outputDataType": source, "ram_style": str(rng.choice(["distributed", "block"]))}
    shape = {"tokens": int(rng.integers(1, 60)), "channels": simd * int(rng.integers(1, 12)), "SIMD": simd}
    return shape | attrs, [np.zeros(16 if source.endswith("4") else 256)]


def shared_gate(rng):
    """Two to five encoders, each with a table."""
    attrs, (table,) = gate(rng)
    shapes = rng.integers(1, 60, (int(rng.integers(2, 6)), 2)).tolist()
    return [Use(attrs | {"tokens": tokens, "channels": attrs["SIMD"] * beats}, (table,)) for tokens, beats in shapes]


def requant(rng):
    s = shape(rng, most=8)
    per_channel = int(rng.integers(0, 2))
    attrs = {"inputDataType": str(rng.choice(["INT16", "INT24", "INT8"])), "outputDataType": narrow(rng)}
    attrs |= {"shift": int(rng.integers(8, 24)), "per_channel": per_channel}
    return s.attrs | attrs, [np.ones(s.channels if per_channel else 1)]


def rotary(rng):
    """Tables in LUTs and in block RAM; with and without channels that pass."""
    simd, pairs, heads = int(rng.choice([2, 4, 8])), int(rng.choice([8, 16])), int(rng.integers(1, 4))
    turn, tokens = 2 * pairs, int(rng.integers(3, 60))
    attrs = {"tokens": tokens, "channels": turn * heads * int(rng.integers(1, 3)), "rotated": turn * heads, "table_channels": turn}
    table = np.tile((256, 0), (tokens, pairs))
    return attrs | {"SIMD": simd, "inputDataType": str(rng.choice(["INT8", "INT4"]))}, [table]


def fifo(rng):
    attrs = {"depth": int(rng.choice([2, 3, 20, 33, 64, 100, 300, 700, 2000])), "inputDataType": narrow(rng)}
    return shape(rng).attrs | attrs, []


def ultra_fifo(rng):
    """FIFOs in one UltraRAM, in a row of them and in several rows, at the depths where a row ends too."""
    depth = int(rng.choice([200, 4096, 4097, 4100, 9000, 16385, 20000]))
    return shape(rng).attrs | {"depth": depth, "inputDataType": narrow(rng), "ram_style": "ultra"}, []


def width(rng):
    a, b = (int(v) for v in rng.choice([1, 2, 3, 4, 6, 8, 12], 2, replace=False))
    return {"tokens": 5, "channels": 24, "in_simd": a, "out_simd": b, "inputDataType": narrow(rng)}, []


def matrix(rng):
    """A unit with ports as wide as its fold, half or twice that; about half of the blocks are zero."""
    block = int(rng.choice([4, 8]))
    simd, pe = (int(rng.choice([d for d in (1, 2, 4, 8) if block % d == 0])) for _ in range(2))
    mw, mh = (block * int(rng.integers(2, 6)) for _ in range(2))
    bits = str(rng.choice(["INT8", "INT8", "INT4"]))
    attrs = {"tokens": int(rng.integers(4, 30)), "MW": mw, "MH": mh, "block": block, "SIMD": simd, "PE": pe}
    group, lanes = int(rng.choice([1, 2, 4, 8])), int(rng.choice([1, 2]))
    attrs |= {"TOKENS": min(group, max(1, PRODUCTS // (simd * pe * lanes))), "LANES": lanes}
    attrs |= {"in_width": port(rng, simd, block), "out_width": port(rng, pe, block)}
    attrs |= {"requant": 1, "shift": 20, "inputDataType": bits, "weightDataType": bits}
    attrs |= {"outputDataType": bits, "ram_style": str(rng.choice(["auto", "block", "distributed"]))}
    kept = rng.random((mw // block, mh // block)) < 0.5
    kept[0, :] = True
    weights = rng.integers(1, 7, (mw, mh)) * np.kron(kept, np.ones((block, block), int))
    return attrs, [weights, rng.integers(-99, 99, mh), rng.integers(1, 1 << 16, mh)]


def port(rng: np.random.Generator, width: int, block: int) -> int:
    """Elements a beat at a port, about ``width``, which divide a block."""
    return int(rng.choice([w for w in (width // 2, width, 2 * width) if w and block % w == 0]))


def ultra(rng):
    """Matrix units with weights in UltraRAM, some deeper than one of these."""
    attrs, initialisers = matrix_unit(str(rng.choice(["portable", "dsp48e2", "lut"])))(rng)
    if rng.random() < 0.5:
        side = 16 * int(rng.integers(18, 24))
        attrs |= {"MW": side, "MH": side, "block": 16, "SIMD": 4, "PE": int(rng.choice([2, 4])), "LANES": 1}
        attrs |= {"in_width": 4, "out_width": attrs["PE"]}
        weights = rng.integers(1, 7, (side, side))
        initialisers = [weights, rng.integers(-99, 99, side), rng.integers(1, 1 << 16, side)]
    return attrs | {"ram_style": "ultra"}, initialisers


def matrix_unit(name: str) -> Draw:
    """Matrix units with one MAC implementation."""

    def draw(rng):
        attrs, initialisers = matrix(rng)
        return attrs | {"mac_style": name}, initialisers

    return draw


def matrices(rng) -> list[Use]:
    """A matrix unit of three encoders with tokens, sides, masks and shifts of their own."""
    unit, _ = matrix_unit(str(rng.choice(["portable", "dsp48e2", "lut"])))(rng)
    found = []
    for _ in range(3):
        rows, columns = (unit["block"] * int(rng.integers(2, 6)) for _ in range(2))
        mask = rng.random((rows // unit["block"], columns // unit["block"])) < 0.5
        mask[0, :] = True
        weights = rng.integers(1, 7, (rows, columns)) * np.kron(mask, np.ones((unit["block"],) * 2, int))
        own = {"tokens": int(rng.integers(1, 30)), "MW": rows, "MH": columns, "shift": 20 + int(rng.integers(0, 4))}
        found.append(Use(unit | own, (weights, rng.integers(-99, 99, columns), rng.integers(1, 1 << 16, columns))))
    return found


DRAWS: dict[str, tuple[Draw, int]] = {
    "VitFork": (fork, 3),
    "VitAdd": (add, 3),
    "VitSplit": (split, 3),
    "VitSelectToken": (select, 3),
    "VitTokenEmbed": (embed, 3),
    "VitTokenMean": (mean, 6),
    "VitLookup": (lookup, 3),
    "VitGate": (gate, 5),
    "VitRequant": (requant, 4),
    "VitRotary": (rotary, 5),
    "VitFIFO": (fifo, 6),
    "VitFIFO ultra": (ultra_fifo, 4),
    "VitWidthConverter": (width, 4),
    "VitCrossing": (crossing, 4),
    "VitFrameCheck": (frame_check, 3),
    "VitLoadPort": (load_port, 3),
    "VitLoadEnd": (load_end, 3),
    "BlockSparseMVAU": (matrix, 5),
    "BlockSparseMVAU dsp48e2": (matrix_unit("dsp48e2"), 6),
    "BlockSparseMVAU lut": (matrix_unit("lut"), 4),
    "BlockSparseMVAU ultra": (ultra, 5),
}
"""Op type (and a MAC implementation) to a draw and the number of its shapes."""
CASES = [
    pytest.param(op, SEED * 1000 + i, marks=[pytest.mark.whole] * (i > 0 or " " in op))
    for op, (_, count) in DRAWS.items()
    for i in range(count)
]


SHARED_DRAWS: dict[str, tuple[Callable[[np.random.Generator], list[Use]], int]] = {
    "VitSplit": (shared_split, 3),
    "VitLookup": (shared_lookup, 3),
    "VitGate": (shared_gate, 3),
    "BlockSparseMVAU": (matrices, 4),
}
"""Op type to a draw of what its encoders need of a unit that they share, and the number of such units."""
SHARED_CASES = [
    pytest.param(op, SEED * 1000 + i, marks=[pytest.mark.whole] * (i > 0 or op != "VitSplit"))
    for op, (_, count) in SHARED_DRAWS.items()
    for i in range(count)
]


@pytest.mark.parametrize("name,seed", spread(CASES, 2, several=True))
def test_estimate_agrees_with_yosys(name, seed, tmp_path):
    op_type = name.split()[0]
    attrs, initialisers = DRAWS[name][0](np.random.default_rng(seed))
    op, model = build_node(op_type, attrs, initialisers, "dut")
    op.set_nodeattr("code_gen_dir_ipgen", str(tmp_path))
    op.code_generation_ipgen(model, PART, 5.0)
    check_estimate(op, f"{op_type} {attrs}")


@pytest.mark.parametrize("op_type,seed", SHARED_CASES)
def test_estimate_of_a_shared_unit_agrees_with_yosys(op_type, seed):
    uses = SHARED_DRAWS[op_type][0](np.random.default_rng(seed))
    op, _, _folder = generate_shared(op_type, uses)
    check_estimate(op, f"{op_type} {[use.attrs for use in uses]}")


def check_estimate(op, what):
    """DSP, block RAM and UltraRAM exact, LUT close."""
    found = synth_node(op.get_rtl_file_list(abspath=True), "dut")
    estimate = op.node_res_estimation(PART)
    text = f"{what}: estimate {dict(estimate)}, Yosys {found}"
    assert (estimate["DSP"], estimate["BRAM_18K"] / 2, estimate["URAM"]) == (found.DSP, found.BRAM36, found.URAM), text
    assert abs(estimate["LUT"] - found.LUT) <= max(SMALL, SHARE * found.LUT), text
