"""The sparse-block matrix unit: RTL equals golden model, cycles equal the formula, for every kind of mask."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.op import rtl_sources
from finn_vitprune.custom_ops.op.memory import loaded_in_rows
from finn_vitprune.errors import UserError
from finn_vitprune.sim import SimulationError, Stimulus
from finn_vitprune.sim.contents import Contents
from finn_vitprune.synth.yosys import synth_node
from tests.rtl.benches.helper import PART, PATTERNS, build_node, build_op, check_loaded_again, check_op, random_stream
from tests.rtl.benches.shared_helper import Use, build_shared, check_shared, generate_shared
from tests.sampling import sampled, spread

OP = "BlockSparseMVAU"
FRAMES = 3


@dataclass(frozen=True)
class Case:
    """A structure and a mask: kept share, or the mask itself as rows of 0 and 1."""

    tokens: int = 5
    mw: int = 32
    mh: int = 32
    block: int = 8
    simd: int = 4
    pe: int = 4
    group: int = 2
    lanes: int = 2
    in_width: int = 8
    out_width: int = 8
    x: str = "INT8"
    w: str = "INT8"
    y: str = "INT8"
    requant: int = 1
    shift: int = 24
    keep: float = 0.5
    mask: np.ndarray | None = None
    seed: int = 0
    more: dict = field(default_factory=dict)

    def attributes(self) -> dict:
        return dict(
            tokens=self.tokens,
            MW=self.mw,
            MH=self.mh,
            block=self.block,
            SIMD=self.simd,
            PE=self.pe,
            TOKENS=self.group,
            LANES=self.lanes,
            in_width=self.in_width,
            out_width=self.out_width,
            inputDataType=self.x,
            weightDataType=self.w,
            outputDataType=self.y,
            requant=self.requant,
            shift=self.shift,
            **self.more,
        )

    def initialisers(self) -> list[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        rows, columns = -(-self.mw // self.block), -(-self.mh // self.block)
        mask = rng.random((rows, columns)) < self.keep if self.mask is None else np.asarray(self.mask, bool)
        kind = DataType[self.w]
        lo, hi = int(kind.min()), int(kind.max())
        weights = rng.integers(lo, hi, (self.mw, self.mh), endpoint=True)
        weights = np.where(rng.random(weights.shape) < 0.1, lo, weights)  # the most negative code too
        weights *= np.kron(mask, np.ones((self.block, self.block), int))[: self.mw, : self.mh]
        bias = rng.integers(-4000, 4000, self.mh)
        return [weights, bias] + ([rng.integers(1 << 14, 1 << 17, self.mh)] if self.requant else [])

    def stream(self) -> np.ndarray:
        probe, _ = build_node(OP, self.attributes(), self.initialisers())
        return random_stream(probe.in_streams()[0], FRAMES, self.seed + 100)


CASES = {
    "one of everything": Case(tokens=3, group=1, lanes=1, simd=1, pe=1, in_width=1, out_width=1, mw=16, mh=16),
    "narrow ports": Case(in_width=2, out_width=2),
    "wide ports": Case(in_width=32, out_width=32, mh=64),
    "input wider than SIMD, output narrower than PE": Case(simd=2, pe=8, in_width=16, out_width=2, lanes=3),
    "input narrower than SIMD, output wider than PE": Case(simd=8, pe=2, in_width=2, out_width=8),
    "whole blocks a cycle": Case(simd=8, pe=8, group=4, tokens=6, lanes=1, in_width=16, out_width=8),
    "block 16": Case(block=16, mw=48, mh=64, simd=8, pe=4, group=4, tokens=7, lanes=3, in_width=16, out_width=16),
    "three steps an entry": Case(block=12, mw=48, mh=48, simd=4, pe=3, lanes=1, in_width=8, out_width=12),
    "block 24": Case(block=24, mw=48, mh=48, simd=6, pe=3, lanes=2, in_width=12, out_width=12),
    "many tokens a group": Case(group=8, tokens=11, simd=2, pe=2, lanes=1, in_width=8, out_width=8),
    "sixteen tokens a group, fewer in the frame": Case(group=16, tokens=5, simd=1, pe=2, lanes=1),
    "4-bit weights": Case(w="INT4", lanes=4, shift=20),
    "4-bit activations": Case(x="INT4", shift=20),
    "4 by 4 bits, one token": Case(x="INT4", w="INT4", group=1, shift=16),
    "one token a group, output wider than a block": Case(group=1, mh=64, out_width=32),
    "unsigned input": Case(x="UINT8", simd=8),
    "wide products, added from an odd number of sums": Case(
        x="UINT8", w="INT9", block=24, mw=48, mh=24, simd=6, pe=2, in_width=6, out_width=4, requant=0, y="INT32"
    ),
    "9-bit input does not pack": Case(x="INT9", shift=25),
    "INT16 input": Case(x="INT16", y="INT16", shift=26),
    "INT16 output": Case(y="INT16", shift=18),
    "unsigned output": Case(y="UINT8", shift=23),
    "25-bit multipliers": Case(y="INT16", shift=20, more={"mult_bits": 25}),
    "raw accumulators": Case(requant=0, y="INT32", lanes=3),
    "padded sides": Case(block=16, mw=12, mh=10, simd=4, pe=2, in_width=4, out_width=2, keep=1.0),
    "rows that end in the middle of a word": Case(block=16, mw=12, mh=16, simd=8, pe=4, in_width=4, out_width=16, keep=1.0),
    "padded classifier of one token": Case(
        block=16, mw=48, mh=10, simd=4, pe=2, in_width=4, out_width=2, requant=0, y="INT32", tokens=1, group=1, keep=1.0
    ),
    "dense": Case(keep=1.0, lanes=4, group=4),
    "nothing kept": Case(keep=0.0),
    "empty columns": Case(mask=[[0, 1, 0, 0]] * 4, lanes=3),
    "one full column over more lanes than columns": Case(mh=8, mask=[[1]] * 4, lanes=4, out_width=4),
    "very uneven": Case(mw=64, mask=[[1, 0, 0, r == 3] for r in range(8)], lanes=4),
    "more lanes than blocks": Case(mask=np.eye(4)[:, ::-1] * [[1], [0], [1], [0]], lanes=4),
    "two tokens at once, odd rows": Case(block=16, mw=48, mh=64, simd=8, pe=8, group=4, tokens=7, out_width=32),
    "four tokens at once, 96 elements a beat": Case(
        block=16, mw=32, mh=96, simd=8, pe=16, group=8, tokens=19, lanes=3, out_width=96, keep=0.6
    ),
    "four tokens at once, sides that the block does not divide": Case(
        block=16, mw=40, mh=40, simd=8, pe=16, group=4, tokens=9, lanes=2, out_width=40, keep=0.8
    ),
    "two tokens at once, raw accumulators, empty columns": Case(
        mask=[[0, 1, 0, 1]] * 4, group=2, out_width=32, requant=0, y="INT32", tokens=4
    ),
    "two tokens at once, three beats a row": Case(mh=48, out_width=16),
    "two tokens at once, frames of one token": Case(tokens=1, out_width=16, lanes=1),
    "two tokens at once, frames of two tokens": Case(tokens=2, out_width=16),
    "biases wider than accumulators": Case(x="INT2", w="INT2", mw=8, shift=12, in_width=4),
}


LOADED_AGAIN = Case(
    mask=[[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]], more={"mac_style": "dsp48e2", "loaded": 1},
)  # fmt: skip


def check_other_program(built) -> None:
    """Of the program and the weights of a mask that has as many blocks in every column nothing is left after a load."""
    other = replace(LOADED_AGAIN, mask=np.roll(LOADED_AGAIN.mask, 1, 0), seed=9)
    check_loaded_again(built, (OP, other.attributes(), other.initialisers()), [LOADED_AGAIN.stream()])


def test_a_loaded_unit_is_loaded_again():
    check_other_program(build_op(OP, LOADED_AGAIN.attributes(), LOADED_AGAIN.initialisers()))


BODY_CASES = {
    "8 by 8 bits, two cascades": Case(block=16, mw=48, mh=64, simd=16, pe=4, tokens=7, lanes=3, in_width=16),
    "4 by 4 bits, four products a slice": Case(x="INT4", w="INT4", simd=8, shift=16, in_width=16),
    "unsigned input": Case(x="UINT8", simd=8, lanes=3),
    "9-bit input": Case(x="INT9", shift=25, group=1, pe=2),
    "INT16 input": Case(x="INT16", y="INT16", shift=26),
    "INT16 input, 3-bit weights": Case(x="INT16", w="INT3", simd=8, requant=0, y="INT32"),
    "one weight a cycle": Case(tokens=3, group=1, lanes=1, simd=1, pe=1, in_width=1, out_width=1, mw=16, mh=16),
    "input narrower than SIMD": Case(simd=8, pe=2, in_width=2, out_width=8, group=4),
    "input wider than SIMD": Case(simd=2, pe=8, in_width=16, out_width=2, lanes=3),
    "empty columns": Case(mask=[[0, 1, 0, 0]] * 4, lanes=3),
    "weights in block RAM": Case(mw=64, mh=64, keep=0.9, more={"ram_style": "block"}),
    "blocks cut between lanes": Case(block=16, simd=4, mw=48, keep=0.7, lanes=5, seed=7),
}


@pytest.mark.parametrize("mac_style", ["dsp48e2", "lut"])
@pytest.mark.parametrize("name", spread(BODY_CASES, 12, first=3))
def test_rtl_with_every_mac_style_equals_golden_model(name, mac_style):
    case = BODY_CASES[name]
    case = replace(case, more=case.more | {"mac_style": mac_style})
    check_op(OP, case.attributes(), [case.stream()], case.initialisers())


@pytest.mark.parametrize("name", spread(CASES, 12))
def test_rtl_equals_golden_model(name):
    case = CASES[name]
    check_op(OP, case.attributes(), [case.stream()], case.initialisers())


@pytest.mark.parametrize("case", [Case(), Case(requant=0, y="INT32"), Case(x="UINT8", y="UINT8", shift=23)])
def test_golden_model_equals_exact_rationals(case):
    """Products in Python integers, rounding by Fraction (whose round() takes ties to even)."""
    weights, bias, *mult = case.initialisers()
    op, _ = build_node(OP, case.attributes(), case.initialisers())
    x = case.stream()
    [golden] = op.compute(x, weights, bias, *mult)
    kind = DataType[case.y]
    rng = np.random.default_rng(3)
    for _ in range(200):
        f, t, c = (int(rng.integers(n)) for n in golden.shape)
        acc = sum(int(a) * int(b) for a, b in zip(x[f, t], weights[:, c])) + int(bias[c])
        if case.requant:
            acc = round(Fraction(acc * int(mult[0][c]), 1 << case.shift))
            acc = min(max(acc, int(kind.min())), int(kind.max()))
        assert golden[f, t, c] == acc


def test_rounding_takes_ties_to_even():
    """W = 1 on one channel, mult 1, shift 1: x / 2, so that every odd x is a tie."""
    weights = np.zeros((8, 8), int)
    weights[0] = 1
    case = Case(mw=8, mh=8, tokens=16, shift=1, in_width=4)
    x = np.zeros((1, 16, 8), int)
    x[0, :, 0] = np.arange(-8, 8)
    inits = [weights, np.zeros(8, int), np.ones(8, int)]
    checked = check_op(OP, case.attributes(), [x], inits)
    [golden] = checked.built.op.compute(x, *inits)
    assert golden[0, :, 0].tolist() == [-4, -4, -3, -2, -2, -2, -1, 0, 0, 0, 1, 2, 2, 2, 3, 4]


@pytest.mark.parametrize("group, lanes", spread(product([1, 2, 4], [1, 2, 3]), 8, several=True))
def test_no_bubble_between_groups(lanes, group):
    """With ample ports the interval is ceil(N / TOKENS) rows of blocks (b / SIMD) (b / PE), to the cycle.

    So few blocks are cut between lanes at any SIMD of their rows.
    """
    case = Case(tokens=9, mw=64, mh=32, simd=2, pe=2, group=group, lanes=lanes, in_width=16, out_width=8, keep=0.7, seed=5)
    checked = check_op(OP, case.attributes(), [case.stream()], case.initialisers())
    blocks = int((case.initialisers()[0].reshape(8, 8, 4, 8) != 0).any(axis=(1, 3)).sum())
    expected = math.ceil(9 / group) * math.ceil(blocks * 4 / lanes) * 4
    assert checked.interval == expected == checked.built.op.get_exp_cycles()
    folding = checked.built.op.folding()
    assert folding.fold.schedule.kept == blocks and folding.fold.lanes == lanes and folding.cycles == expected
    assert folding.ideal_cycles == pytest.approx(blocks * 64 * 9 / (2 * 2 * group * lanes))
    assert checked.built.op.macs() == blocks * 64 * 9


@pytest.mark.parametrize("lanes", [8, 12, 16, 24, 32])
def test_lanes_are_used_to_97_percent(lanes):
    """384 x 384 in 16 x 16 blocks, whole heads gone or columns of very different counts."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shares = rng.choice([0.0, 0.3, 0.6, 0.9, 1.0], size=6).repeat(4)
        counts = rng.binomial(24, shares)
        counts[0] = 24
        case = Case(
            tokens=200,
            mw=384,
            mh=384,
            block=16,
            simd=2,
            pe=4,
            group=1,
            lanes=lanes,
            in_width=16,
            out_width=16,
            more={"column_blocks": counts.tolist()},
        )
        op, _ = build_node(OP, case.attributes(), [])
        folding = op.folding()
        assert folding.fold.schedule.kept == counts.sum()
        assert folding.ideal_cycles / folding.cycles >= 0.97, (seed, folding)


def test_one_compiled_simulation_serves_every_mask():
    """Equal sources and parameters, other ROM files: masks from empty to dense."""
    most = {"lane_blocks": 8, "lane_slots": 4}
    sources, simulators = set(), set()
    for seed, keep in enumerate((0.0, 0.2, 0.5, 0.9, 1.0)):
        case = Case(keep=keep, seed=seed, more=most)
        built = build_op(OP, case.attributes(), case.initialisers())
        sources.add((built.folder / "dut.v").read_text())
        simulators.add(built.simulator.executable)
        result = built.run([case.stream()])
        assert result.ok and result.deadlock is None
    assert len(sources) == 1 and len(simulators) == 1


def test_masks_beyond_the_elaborated_maxima_are_refused():
    case = Case(keep=1.0, more={"lane_blocks": 4, "lane_slots": 2})
    with pytest.raises(UserError, match=r"needs 8 blocks and 2 column parts a lane.*holds 4 and 2"):
        build_op(OP, case.attributes(), case.initialisers())


MUTATIONS = [
    ("vp_mac_portable.sv", "PACK && lower[g*(LOW+1)+LOW];", "1'b0;"),
    ("vp_mvau_drain.sv", "first_value_q <= last_q[VALUES];", "first_value_q <= 1'b1;"),
    ("vp_mvau_sequence.sv", "& full & ~busy", "& full"),
    ("vp_mvau_load.sv", "assign in_ready = !full_q[bank_q] &&", "assign in_ready ="),
    ("vp_mvau_load.sv", "wire logic group_end = frame_end ||", "wire logic group_end ="),
]


@pytest.mark.parametrize("file, good, bad", spread(MUTATIONS, 4, several=True), ids=[f"{m[0]}-{i}" for i, m in enumerate(MUTATIONS)])
def test_a_broken_unit_is_caught(file, good, bad, tmp_path, monkeypatch):
    for source in rtl_sources.RTL_DIR.rglob("*.sv"):
        shutil.copy(source, tmp_path)
    text = (tmp_path / file).read_text()
    assert text.count(good) == 1
    (tmp_path / file).write_text(text.replace(good, bad))
    monkeypatch.setattr(rtl_sources, "RTL_DIR", tmp_path)
    case = Case(lanes=3, mh=40, keep=0.8, out_width=4, seed=3)
    with pytest.raises(AssertionError, match="differ|no beat moved|too many"):
        check_op(OP, case.attributes(), [case.stream()], case.initialisers())


@pytest.mark.parametrize(
    "case, text",
    [
        (Case(block=16, simd=12), r"SIMD 12 does not divide block size 16 \(node unit\): use 1, 2, 4, 8 or 16"),
        (Case(pe=3), r"PE 3 does not divide block size 8 \(node unit\): use 1, 2, 4 or 8"),
        (Case(group=3), r"TOKENS 3 \(node unit\) is not possible: use 1, 2, 4, 8 or 16"),
        (Case(lanes=0), r"LANES 0 \(node unit\) must be at least 1"),
        (Case(in_width=3), r"in_width 3 \(node unit\) must divide MW 32.*use 1, 2, 4, 8, 16 or 32"),
        (Case(mh=10, out_width=5), r"out_width 5 \(node unit\) must divide MH 10.*use 1, 2 or 10"),
        (Case(x="INT17"), r"input type INT17 \(node unit\)"),
        (Case(w="UINT8"), r"weight type UINT8 \(node unit\) is not possible: use INT2 to INT9"),
        # 32 products of up to 2^14 need 21 signed bits, a bias of 21 bits added makes 22
        (Case(requant=0, y="INT16"), r"INT16 \(node unit\) does not hold the accumulators of 22 bits: use INT22"),
    ],
)
def test_a_fold_that_does_not_fit_is_named(case, text):
    with pytest.raises(UserError, match=text):
        build_node(OP, case.attributes(), [])


def test_values_outside_their_types_are_named():
    case = Case(w="INT4")
    weights, bias, mult = case.initialisers()
    weights[0, 0] = 9
    with pytest.raises(UserError, match=r"weight -8 to 9 is outside -8 to 7 \(node dut\)"):
        build_op(OP, case.attributes(), [weights, bias, mult])
    weights[0, 0], mult[3] = 1, 1 << 17
    with pytest.raises(UserError, match=r"mult .* to 131072 is outside 0 to 131071 \(node dut\)"):
        build_op(OP, case.attributes(), [weights, bias, mult])


@pytest.mark.whole
def test_the_array_survives_synthesis_when_programs_are_short(tmp_path):
    """Five drain entries of a fixed pattern once let Yosys prove that no lane is ever read."""
    case = Case(tokens=17, mw=64, mh=80, block=16, simd=2, pe=2, group=4, lanes=1, out_width=16, x="UINT8", keep=1.0)
    op, model = build_node(OP, case.attributes(), case.initialisers())
    op.set_nodeattr("code_gen_dir_ipgen", str(tmp_path))
    op.code_generation_ipgen(model, PART, 5.0)
    found = synth_node(op.get_rtl_file_list(abspath=True), "unit")
    assert found.DSP == 2 * 2 * 4 // 2 + 16  # two tokens share a multiplier; one a requantised output


ULTRA_CASES = {
    "two lanes, words of 256 bits": Case(),
    "one weight a cycle: a word of less than 32 bits": Case(
        tokens=3, group=1, lanes=1, simd=1, pe=1, in_width=1, out_width=1, mw=16, mh=16
    ),
    "words of 60 bits": Case(w="INT5", simd=2, pe=2, lanes=3, shift=20),
    "words of 36 bits": Case(w="INT9", simd=2, pe=2, lanes=1, shift=25),
    "words of 96 bits: three parts in four places": Case(block=24, mw=48, mh=48, simd=6, pe=2, lanes=1, in_width=12),
    "dense": Case(keep=1.0, lanes=4, group=4),
    "nothing kept": Case(keep=0.0),
    "two banks": Case(block=16, mw=48, mh=64, simd=16, pe=4, tokens=7, lanes=3, in_width=16, more={"mac_style": "dsp48e2"}),
    "eight banks of 60 bits, 4-bit": Case(x="INT4", w="INT5", simd=8, pe=4, lanes=3, shift=16, in_width=16, more={"mac_style": "dsp48e2"}),
    "four banks of 16 bits": Case(w="INT4", simd=8, pe=2, lanes=1, shift=20, more={"mac_style": "lut"}),
    "five rows of UltraRAM, program entries side by side": Case(
        block=4, mw=272, mh=272, simd=4, pe=1, tokens=3, lanes=1, group=1, keep=1.0, in_width=4, out_width=1, shift=20
    ),
}


def ultra(case: Case) -> Case:
    return replace(case, more=case.more | {"ram_style": "ultra"})


@pytest.mark.parametrize("name", spread(ULTRA_CASES, 8))
def test_weights_in_uram_equal_golden_model(name):
    case = ultra(ULTRA_CASES[name])
    check_op(OP, case.attributes(), [case.stream()], case.initialisers())


def test_deep_memories_are_cut_into_rows():
    """What the case above is about, and where it begins."""
    case = ULTRA_CASES["five rows of UltraRAM, program entries side by side"]
    op, _ = build_node(OP, ultra(case).attributes(), case.initialisers())
    f = op.fold()
    assert f.program_entries == f.weight_words == 18496 and f.program_per > 1
    assert loaded_in_rows(f.weight_words) and not loaded_in_rows(16384)
    assert op.rtl_parameters()["P_PER"] == f.program_per and op.rtl_parameters()["W_LATENCY"] == 4


READ_LATENCIES = {
    # ram_style, words of a bank, cycles of a read: registers of LUTRAM, of block RAM, of an UltraRAM or up to four rows, of more
    ("distributed", 64, 1), ("block", 608, 2), ("ultra", 4096, 3), ("ultra", 4112, 3), ("ultra", 16384, 3), ("ultra", 16400, 4),
}  # fmt: skip


def read_ahead(mac_style: str, style: str, words: int) -> Case:
    """Room for ``words`` of weights, of which few are used, so that group follows on group at once."""
    more = {"mac_style": mac_style, "ram_style": style, "lane_blocks": words // 16}
    return Case(simd=4, pe=1, mw=24, mh=16, lanes=2, in_width=8, out_width=2, tokens=7, more=more)


def one_step(style: str, words: int) -> Case:
    """One block in one step a group, in a memory of ``words``."""
    more = {"ram_style": style, "lane_blocks": words}
    return Case(simd=8, pe=8, mw=8, mh=8, lanes=1, group=1, tokens=9, keep=1.0, more=more)


@pytest.mark.parametrize(
    "style, words, latency, mac_style",
    spread([(*memory, mac_style) for memory in sorted(READ_LATENCIES) for mac_style in ("portable", "dsp48e2", "lut")], 14, several=True),
)
def test_weights_are_read_ahead_of_their_step(mac_style, style, words, latency):
    """At every read latency."""
    case = read_ahead(mac_style, style, words)
    op, _ = build_node(OP, case.attributes(), case.initialisers())
    assert op.fold().weight_words == words and op.fold().weight_latency == latency
    check_op(OP, case.attributes(), [case.stream()], case.initialisers())


@pytest.mark.parametrize("style, words", sampled([("block", 600), ("ultra", 4097)], 1, several=True))
def test_groups_of_one_step(style, words):
    """One kept block that takes one step: rows are replaced while reads are under way."""
    case = one_step(style, words)
    check_op(OP, case.attributes(), [case.stream()], case.initialisers())


READ_AHEAD_FAULTS = {
    "steps are a cycle late": (".LENGTH(X_WAIT)) steps_later", ".LENGTH(X_WAIT + 1)) steps_later"),
    "weights are a cycle late": (".LENGTH(W_WAIT)) weights_later", ".LENGTH(W_WAIT + 1)) weights_later"),
}


@pytest.mark.parametrize("fault", READ_AHEAD_FAULTS)
def test_a_read_ahead_of_the_wrong_length_is_caught(fault, tmp_path, monkeypatch):
    """Mutants do not touch parameters."""
    broken(tmp_path, monkeypatch, "vp_mvau.sv", *READ_AHEAD_FAULTS[fault])
    case = read_ahead("portable", "distributed", 64)
    with pytest.raises(AssertionError):
        check_op(OP, case.attributes(), [case.stream()], case.initialisers())


def broken(folder, monkeypatch, file: str, good: str, bad: str) -> None:
    """Copy the RTL to ``folder`` with one fault, and let ops take it from there."""
    for source in rtl_sources.RTL_DIR.rglob("*.sv"):
        shutil.copy(source, folder)
    text = (folder / file).read_text()
    assert text.count(good) == 1
    (folder / file).write_text(text.replace(good, bad))
    monkeypatch.setattr(rtl_sources, "RTL_DIR", folder)


def check_load(built, stream: np.ndarray) -> None:
    """Words come at any time; what is loaded last is what counts, and nothing that follows is kept."""
    words = Contents.load(built.folder).data
    for stimulus in (Stimulus(seed=5, pause=0.4), Stimulus(seed=6, pause=0.9, burst=7), Stimulus(seed=7, pause=0.4, reset_at=3)):
        result = built.run([stream], stimulus)
        assert result.ok, (stimulus, result.deadlock, result.violations)
    longer = built.run([stream], loads={"load": np.append(words, ~words[:3])})
    assert longer.violations and not len(longer.mismatches["out0_V"])  # three words that are not kept come back
    shorter = built.run([stream], loads={"load": words[:-2]})
    assert shorter.deadlock is not None and shorter.loads["load"].done == len(words) - 1


@pytest.mark.parametrize("name", sampled(["two banks", "words of 60 bits"], 1))
def test_a_unit_in_uram_keeps_the_words_of_its_region(name):
    case = ultra(ULTRA_CASES[name])
    check_load(build_op(OP, case.attributes(), case.initialisers()), case.stream())


@pytest.mark.parametrize("name", spread(ULTRA_CASES, 6))
def test_memories_filled_from_files_equal_loaded_ones(name):
    """Without a load, at once; without the files not at all."""
    case = ultra(ULTRA_CASES[name])
    built = build_op(OP, case.attributes(), case.initialisers())
    with pytest.raises(SimulationError, match="readmem"):
        built.run([case.stream()], fill=True)
    Contents.load(built.folder).fill(built.folder)
    for stimulus in (Stimulus(), Stimulus(seed=8, pause=0.3, stall=0.3), Stimulus(seed=9, reset_at=40)):
        result = built.run([case.stream()], stimulus, fill=True)
        assert result.ok and result.in_cycles["in0_V"][0] < 20


def test_contents_by_hand(tmp_path):
    """Dense 8 x 8 in one block, SIMD 4, PE 2, INT8: word w, output group g, step s: weights [4 s + i, 2 g + p]."""
    case = ultra(Case(mw=8, mh=8, simd=4, pe=2, lanes=1, in_width=4, out_width=2, keep=1.0))
    weights, *rest = case.initialisers()
    op, model = build_node(OP, case.attributes(), [weights, *rest])
    op.set_nodeattr("code_gen_dir_ipgen", str(tmp_path))
    op.code_generation_ipgen(model, PART, 5.0)
    want = []
    for group in range(4):
        for step in range(2):
            for p in range(2):
                column = weights[4 * step : 4 * step + 4, 2 * group + p] & 0xFF
                want.append(int(column[0]) | int(column[1]) << 8 | int(column[2]) << 16 | int(column[3]) << 24)
    assert Contents.load(tmp_path).data.tolist() == want
    assert not (tmp_path / "unit_weights.hex").exists()
    assert [(r.unit, r.memory, r.words, r.width, r.banks) for r in op.loaded_regions()] == [("unit", "weights", 8, 64, 1)]


def test_other_styles_are_not_on_the_load_chain():
    case = Case()
    op, _ = build_node(OP, case.attributes(), case.initialisers())
    declared, instance = op.wrapper_text().split(");\n", 1)
    assert "load_in" not in declared and ".load_in(34'd0)" in instance
    assert not op.loaded_regions() and not op.side_pins()


def test_the_chain_in_finn_s_block_design(tmp_path):
    case = ultra(Case())
    op, model = build_node(OP, case.attributes() | {"load_from": "VitLoadPort_rtl_0"}, case.initialisers())
    op.set_nodeattr("code_gen_dir_ipgen", str(tmp_path))
    op.code_generation_ipgen(model, PART, 5.0)
    assert op.code_generation_ipi()[-1] == "connect_bd_net [get_bd_pins VitLoadPort_rtl_0/load_out] [get_bd_pins unit/load_in]"


def test_a_part_without_ultraram_is_named(tmp_path):
    case = ultra(Case())
    op, model = build_node(OP, case.attributes(), case.initialisers())
    op.set_nodeattr("code_gen_dir_ipgen", str(tmp_path))
    with pytest.raises(UserError, match=r"part xczu3eg-sbva484-1-e has no UltraRAM .* node unit .*use ram_style auto"):
        op.generate_hdl(model, "xczu3eg-sbva484-1-e", 5.0)


ULTRA_MUTATIONS = [
    ("vp_load_hop.sv", "if (whole && bank_end) begin", "if (whole) begin"),
    ("vp_load_hop.sv", "            addr_q     <= '0;\n", ""),
    ("vp_load_hop.sv", "keeping_q <= !bank_q[BANKS-1];", "keeping_q <= 1'b1;"),
    ("vp_load_hop.sv", "if (keep && part_q[i])", "if (keep)"),
    ("vp_load_hop.sv", "waddr_q <= addr_q;", "waddr_q <= addr_q + 1'b1;"),
    ("vp_load_hop.sv", "{start, valid && !keeping_q}", "{start, valid}"),
    ("vp_mvau.sv", ".we(load_we), .waddr(load_addr), .data(load_data)", ".we(load_we), .waddr(), .data(load_data)"),
]


@pytest.mark.parametrize("file, good, bad", spread(ULTRA_MUTATIONS, 6, several=True), ids=range(len(ULTRA_MUTATIONS)))
def test_a_broken_load_path_is_caught(file, good, bad, tmp_path, monkeypatch):
    broken(tmp_path, monkeypatch, file, good, bad)
    case = ultra(Case(keep=0.8))
    built = build_op(OP, case.attributes(), case.initialisers())
    with pytest.raises(AssertionError):
        check_load(built, case.stream())


SHARED_CASES = {
    "rows fewer than a group, one row, other sides and shifts": [
        Case(), Case(tokens=1, mw=16, mh=24, shift=22, seed=2), Case(tokens=8, mw=48, mh=8, keep=0.1, shift=23, seed=3),
    ],
    "one token a group, one lane, one weight a cycle": [
        Case(tokens=3, group=1, lanes=1, simd=1, pe=1, in_width=1, out_width=1, mw=16, mh=8),
        Case(tokens=1, group=1, lanes=1, simd=1, pe=1, in_width=1, out_width=1, mw=8, mh=16, seed=1, shift=21),
    ],
    "four tokens a group, three lanes, dsp48e2": [
        Case(tokens=tokens, mw=mw, mh=mh, group=4, lanes=3, simd=8, keep=keep, seed=tokens, shift=shift,
             more={"mac_style": "dsp48e2"})
        for tokens, mw, mh, keep, shift in ((9, 32, 32, 0.6, 24), (1, 16, 48, 1.0, 22), (3, 48, 16, 0.0, 25), (4, 24, 24, 0.9, 24))
    ],
    "short programs": [
        Case(tokens=tokens, mw=mw, mh=mh, simd=8, pe=8, group=1, lanes=2, keep=1.0, seed=mw, shift=shift)
        for tokens, mw, mh, shift in ((5, 8, 8, 22), (1, 16, 8, 22), (4, 8, 24, 24), (3, 40, 8, 23))
    ],
    "empty columns, one nearly empty mask, lut": [
        Case(tokens=tokens, mw=8 * len(mask), mh=8 * len(mask[0]), mask=mask, lanes=3, x="INT4", w="INT4", shift=shift, seed=shift,
             more={"mac_style": "lut"})
        for tokens, mask, shift in (
            (5, [[0, 1, 0, 0]] * 4, 16), (2, [[1, 0, 0, r == 3] for r in range(8)], 17), (7, [[0], [1], [0], [0]], 14)
        )
    ],
    "four tokens at once, other last rows and beats of a row": [
        Case(tokens=tokens, mw=mw, mh=mh, block=8, simd=4, pe=8, group=4, lanes=2, out_width=32, keep=keep, seed=mh)
        for tokens, mw, mh, keep in ((5, 32, 32, 0.5), (1, 16, 96, 0.9), (7, 8, 64, 1.0), (8, 24, 128, 0.2))
    ],
    "two tokens at once of eight, raw accumulators": [
        Case(tokens=tokens, mw=mw, mh=mh, group=8, simd=8, out_width=16, requant=0, y="INT32", seed=mh)
        for tokens, mw, mh in ((11, 16, 32), (2, 40, 16), (8, 8, 64))
    ],
    "beats wider than a block, sides that the block does not divide": [
        Case(tokens=tokens, mw=mw, mh=mh, block=16, simd=4, pe=4, group=1, in_width=4, out_width=40, shift=shift, seed=mw)
        for tokens, mw, mh, shift in ((3, 20, 40, 22), (1, 36, 40, 24), (4, 16, 40, 21))
    ],
    "UltraRAM, two banks": [
        Case(tokens=tokens, mw=mw, mh=mh, block=16, simd=16, pe=4, lanes=3, in_width=16, shift=shift, seed=mw,
             more={"mac_style": "dsp48e2", "ram_style": "ultra"})
        for tokens, mw, mh, shift in ((7, 48, 64, 24), (1, 16, 32, 22), (3, 64, 16, 24))
    ],
    "deep memories in UltraRAM, program entries side by side": [
        Case(tokens=tokens, mw=mw, mh=mh, block=4, simd=4, pe=1, lanes=1, group=1, in_width=4, out_width=1, shift=20, seed=mw,
             more={"lane_blocks": 2401, "ram_style": "ultra"})
        for tokens, mw, mh in ((3, 16, 16), (1, 8, 20))
    ],
    "block RAM": [
        Case(tokens=tokens, mw=mw, mh=mh, pe=1, out_width=2, seed=mw, more={"lane_blocks": 300, "ram_style": "block"})
        for tokens, mw, mh in ((7, 24, 16), (2, 16, 24), (5, 32, 8))
    ],
}  # fmt: skip


BURSTS = tuple(Stimulus(seed=seed, pause=0.6, burst=9) for seed in range(3))
"""After a long pause groups come so fast that their programs are not read ahead."""
LONG = (Stimulus(seed=4, pause=0.05, burst=300), Stimulus(seed=5, stall=0.05, burst=300))
"""Pauses and stalls in which whole frames pass."""
TRAFFIC = PATTERNS[:3] + BURSTS + LONG
"""What a unit that encoders share has to bear."""


def uses(cases: list[Case]) -> list[Use]:
    return [Use(case.attributes(), tuple(case.initialisers())) for case in cases]


@pytest.mark.parametrize("name", spread(SHARED_CASES, 8))
def test_encoders_share_a_unit(name):
    check_shared(OP, uses(SHARED_CASES[name]), patterns=TRAFFIC)


def test_encoders_of_other_bias_widths_share_a_unit():
    """The widest bias is that of an encoder with few input channels; of the shifts the largest one is not the first."""
    cases = [Case(x="INT2", w="INT2", mw=mw, shift=shift, in_width=4, tokens=3, seed=mw) for mw, shift in ((8, 12), (40, 14))]
    wide = [np.full(32, 100_000) if i == 0 else np.arange(32) for i in range(2)]
    with_bias = [Use(use.attrs, (use.initialisers[0], bias, use.initialisers[2])) for use, bias in zip(uses(cases), wide)]
    built = check_shared(OP, with_bias, patterns=PATTERNS[:1])
    f = built.op.fold()
    assert f.bias_bits == 18 and f.shift == 14 and f.span == 2


def test_frames_of_other_encoders_cost_what_they_cost_alone():
    """Any order of frames takes the sum of their cycles, but for a few of each."""
    built = build_shared(OP, uses(SHARED_CASES["four tokens a group, three lanes, dsp48e2"]))
    cycles = [op.get_exp_cycles() for op in built.op.by_encoder()]
    assert built.op.get_exp_cycles() == max(cycles) > 2 * min(cycles)
    order = np.random.default_rng(5).integers(0, len(cycles), 30)
    result = built.run([built.draw(int(e), i) for i, e in enumerate(order)])
    last = np.cumsum([built.op.by_encoder()[e].out_streams()[0].beats for e in order]) - 1
    took = np.diff(result.out_cycles["out0_V"][last[[0, -1]]])[0]
    assert result.ok and took <= sum(cycles[e] for e in order[1:]) + 6 * len(order)


def test_contents_of_encoders_lie_behind_one_another():
    """Weights of each, as those of a unit of its own, from where the parameters say; the other depths are sums, too."""
    cases = SHARED_CASES["rows fewer than a group, one row, other sides and shifts"]
    op, model, _ = generate_shared(OP, uses(cases))
    memory, parameters, start = op.memories(model), op.rtl_parameters(), 0
    for e, case in enumerate(cases):
        alone, own_model = build_node(OP, case.attributes(), case.initialisers())
        words = alone.memories(own_model)["weights"].words
        assert parameters["WEIGHT_STARTS"] >> 32 * e & 0xFFFFFFFF == start
        assert np.array_equal(memory["weights"].words[start : start + len(words)], words)
        start += len(words)
    assert start == parameters["W_WORDS"] == len(memory["weights"].words)
    assert {k: len(memory[m].words) for k, m in (("P", "program"), ("C", "drain"), ("K", "constants"))} == {
        k: parameters[f"{k}_WORDS"] for k in "PCK"
    }


def test_one_structure_serves_other_masks_of_all_encoders():
    """With room for them nothing but contents depends on the masks."""
    texts = set()
    for keep in (0.1, 0.5, 1.0):
        cases = [
            Case(tokens=tokens, mw=mw, mh=mh, keep=keep, seed=mw, more={"lane_blocks": 8, "lane_slots": 4})
            for tokens, mw, mh in ((5, 32, 32), (2, 48, 16))
        ]
        texts.add(generate_shared(OP, uses(cases))[0].wrapper_text())
    assert len(texts) == 1


def test_what_encoders_cannot_share_is_named():
    narrow = Case(mw=12, in_width=4)
    with pytest.raises(UserError, match="unit dut: its encoders need the same in_width, they have 8, 4"):
        generate_shared(OP, uses([Case(), narrow]))
    with pytest.raises(UserError, match="need the same SIMD"):
        generate_shared(OP, uses([Case(), Case(simd=8)]))


def test_what_is_loaded_of_a_shared_unit_is_its_weights():
    """All else of its inputs is built in."""
    op, model, _ = generate_shared(OP, uses(SHARED_CASES["UltraRAM, two banks"]))
    loaded = []
    for i, name in enumerate(op.onnx_node.input):
        if (value := model.get_initializer(name)) is not None and not np.array_equal(op.fixed_part(i, value), value):
            loaded.append(name)
    assert loaded == ["e0_param0", "e1_param0", "e2_param0"]
    [region] = op.loaded_regions()
    assert region.words == sum(own.fold().weight_words for own in op.by_encoder())


SHARED_MUTATIONS = [
    ("vp_mvau_load.sv", "!(take && group_end) && (said_q", "(said_q"),
    ("vp_mvau_load.sv", "(shape.one_row[0] || last_row_q)", "last_row_q"),
    ("vp_mvau_load.sv", "shape.one_beat[0] || last_beat_q", "last_beat_q"),
    ("vp_mvau_sequence.sv", "start_q ? W_ADDR_W'(first_weight)", "start_q ? '0"),
    ("vp_mvau_sequence.sv", "group_done ? entry_coming : entry_valid", "1'b0 ? entry_coming : entry_valid"),
    ("vp_mvau_drain.sv", ".again(!last_set)", ".again(1'b0)"),
    ("vp_mvau_drain.sv", "if (row_first) constant_q <= first_constant;", "if (row_first) constant_q <= '0;"),
    ("vp_mvau_drain.sv", "shape.one_set[0] || last_row_q", "last_row_q"),
    ("vp_mvau_drain.sv", ".left(left)", ".left('0)"),
    ("vp_mvau_drain.sv", ".LENGTH(VALUES + 2)) beside", ".LENGTH(VALUES + 1)) beside"),
    ("vp_mvau_reorder.sv", "SEVERAL ? set.one_beat", "1'b0 ? set.one_beat"),
    ("vp_mvau_reorder.sv", "SEVERAL ? set.next_to_last_beat", "1'b0 ? set.next_to_last_beat"),
    ("vp_mvau_program.sv", "known_q <= start_valid;", "known_q <= 1'b1;"),
    ("vp_mvau_program.sv", "SEVERAL ? first_q : '0", "'0"),
]


@pytest.mark.parametrize("file, good, bad", spread(SHARED_MUTATIONS, 8, several=True), ids=range(len(SHARED_MUTATIONS)))
def test_a_broken_shared_unit_is_caught(file, good, bad, tmp_path, monkeypatch):
    broken(tmp_path, monkeypatch, file, good, bad)
    cases = [
        Case(tokens=tokens, mw=mw, mh=mh, group=4, lanes=2, simd=8, pe=8, out_width=16, shift=shift, keep=keep, seed=mw)
        for tokens, mw, mh, shift, keep in ((7, 16, 16, 22, 0.8), (1, 8, 32, 24, 1.0), (3, 32, 48, 23, 0.4))
    ]
    with pytest.raises((AssertionError, SimulationError)):
        check_shared(OP, uses(cases), patterns=PATTERNS[:2])
        check_shared(OP, uses(SHARED_CASES["short programs"]), frames=40, patterns=BURSTS)
