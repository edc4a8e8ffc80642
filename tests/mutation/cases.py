"""The two units and the self-checks that judge their mutants: small ops out of the units' own tests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from finn_vitprune.custom_ops.base import VitOp
from finn_vitprune.custom_ops.block_sparse_mvau import BlockSparseMVAU_rtl
from finn_vitprune.custom_ops.rtl_sources import rtl_sources
from finn_vitprune.custom_ops.token_drop import VitTokenDrop_rtl
from finn_vitprune.sim import Simulator
from tests.mutation.quick import translate
from tests.rtl import test_block_sparse_mvau as matrix
from tests.rtl import test_token_drop as token_drop
from tests.rtl.helper import PATTERNS, BuiltOp, check_built, generate_op, op_ports


def _files(top: str) -> tuple[str, ...]:
    """Names of the files of a unit, without that of the primitive, which is not in a netlist."""
    return tuple(path.name for path in rtl_sources(top) if path.name != "vp_dsp48e2_model.sv")


@dataclass
class SelfCheck:
    """An op with data, and what it is asked: :func:`tests.rtl.helper.check_built`, and more.

    Attributes:
        name: for reports.
        inputs: makes op type, attributes, streams and initialisers.
        options: of ``check_built``.
        more: a further check of the built op; raises AssertionError.
    """

    name: str
    inputs: Callable[[], tuple[str, dict, Sequence[np.ndarray], Sequence[np.ndarray]]]
    options: dict = field(default_factory=dict)
    more: Callable[[BuiltOp], None] | None = None

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Files of the op, the top last."""
        return tuple(self.op.get_rtl_file_list(abspath=True))

    @cached_property
    def _inputs(self):
        return self.inputs()

    @cached_property
    def _generated(self):
        op_type, attrs, _, initialisers = self._inputs
        return generate_op(op_type, attrs, initialisers)

    def judge(self, simulator: Simulator) -> None:
        """Run ``simulator`` in place of the op's own.

        Raises:
            AssertionError: a beat, the handshake or the interval is not what it must be.
            SimulationError: the simulation stopped.
        """
        op, model, keep = self._generated
        _, _, streams, initialisers = self._inputs
        arrays = tuple(np.asarray(a, np.int64) for a in initialisers)
        built = BuiltOp(op, model, arrays, simulator, Path(keep.name), keep)
        check_built(built, streams, **self.options)
        if self.more:
            self.more(built)

    @property
    def op(self) -> VitOp:
        """The op, with its HDL generated."""
        return self._generated[0]

    @cached_property
    def sound_code(self) -> str:
        """Digest of the C++ that Verilator makes of the RTL as it is, which passes.

        Raises:
            AssertionError: it does not.
        """
        with tempfile.TemporaryDirectory(prefix="vitprune-mutant-") as folder:
            code = translate(self.sources, Path(folder))
            self.judge(code.compile(*op_ports(self.op)))
        return code.digest


@dataclass(frozen=True)
class Unit:
    """A unit: its RTL files, the checks of its mutants (those that find most first)."""

    name: str
    files: tuple[str, ...]
    checks: tuple[SelfCheck, ...]


def _drop(name: str, shape: tuple, *, ties: bool = False, data=None, more=None, **options) -> SelfCheck:
    """Token drop of ``shape`` (tokens, channels, SIMD, k, heads, ranking): random, tied or given frames."""

    def inputs():
        n, channels, _, k, heads, *_ = shape
        if data is not None:
            streams = data(heads)
        elif ties:
            streams = [token_drop.codes(12, n, channels), token_drop.tied_scores(n, heads, k)]
        else:
            streams = [token_drop.codes(5, n, channels), token_drop.attention_scores(5, n, heads)]
        return "VitTokenDrop", token_drop.attrs(*shape), streams, ()

    patterns = {"patterns": token_drop.LATE_SCORES[:2] if ties else PATTERNS + token_drop.LATE_SCORES}
    return SelfCheck(name, inputs, patterns | {"interval": not (ties or data)} | options, more)


TOKEN_DROP = Unit("token drop", _files(VitTokenDrop_rtl.RTL_TOP), (
    _drop("half kept", (17, 48, 4, 8, 2, "insert")),
    _drop("ties, dropped ones ranked", (11, 32, 8, 7, 3, "insert"), ties=True),
    _drop("histograms", (17, 48, 1, 12, 1, "histogram")),
    _drop("histograms, ties", (60, 32, 8, 30, 1, "histogram"), ties=True),
    _drop("a beat a token, one dropped", (9, 16, 16, 7, 3, "insert")),
    _drop("three beats a token", (9, 24, 8, 4, 12, "insert")),
    _drop("none dropped", (17, 48, 4, 16, 2, "insert")),
    _drop("ties", (11, 32, 8, 4, 2, "insert"), ties=True),
    _drop("ends of the range", (6, 8, 2, 1, 1), data=token_drop.extreme_frames),
    _drop("ends of the range, three heads", (6, 8, 2, 1, 3), data=token_drop.extreme_frames),
    _drop("halves", (4, 16, 4, 1, 1), data=token_drop.half_frames),
    _drop("two beats a token", (9, 16, 8, 4, 12, "insert")),
    _drop("four groups a beat", (80, 16, 8, 30, 3, "insert")),
    _drop("three groups a beat", (60, 12, 3, 20, 2, "insert")),
    _drop("one kept", (17, 48, 6, 1, 1, "insert")),
    _drop("one element a beat", (17, 48, 1, 5, 6, "insert")),
    _drop("histograms, scores in block RAM", (200, 24, 2, 99, 1, "histogram")),
    _drop("pace for every image", (17, 48, 4, 8, 2), data=lambda _: [token_drop.codes(1, 17, 48),
          token_drop.attention_scores(1, 17, 2)], more=token_drop.check_pace),
    _drop("ranking cycles, insertion", (60, 48, 1, 30, 1, "insert"), more=token_drop.check_rank),
    _drop("ranking cycles, histograms", (60, 48, 1, 30, 1, "histogram"),
          more=token_drop.check_rank),
))


def _ultra(name: str) -> SelfCheck:
    """A matrix unit with its weights in UltraRAM, which must be loaded."""
    case = matrix.ultra(matrix.ULTRA_CASES[name])
    return replace(_matrix(f"{name}, UltraRAM", case), more=lambda built: matrix.check_load(built, case.stream()))


def _matrix(name: str, case: matrix.Case) -> SelfCheck:
    """A matrix unit of a test case, with a random stream."""

    def inputs():
        return matrix.OP, case.attributes(), [case.stream()], case.initialisers()

    return SelfCheck(name, inputs)


def _with_mac(name: str, mac_style: str) -> SelfCheck:
    case = matrix.BODY_CASES[name]
    return _matrix(f"{name}, {mac_style}", replace(case, more=case.more | {"mac_style": mac_style}))


def _halves() -> tuple:
    """One weight of 1, multiplier 1, shift 1: x / 2, so that every odd x is a tie."""
    case = matrix.Case(mw=8, mh=8, tokens=16, shift=1, in_width=4)
    weights, x = np.zeros((8, 8), int), np.zeros((1, 16, 8), int)
    weights[0] = 1
    x[0, :, 0] = np.arange(-8, 8)
    return matrix.OP, case.attributes(), [x], [weights, np.zeros(8, int), np.ones(8, int)]


MATRIX = Unit("matrix", _files(BlockSparseMVAU_rtl.RTL_TOP), (
    _matrix("three lanes", matrix.Case(
        lanes=3, mw=16, mh=40, simd=2, pe=2, keep=0.8, in_width=4, out_width=4, seed=3,
    )),
    _with_mac("4 by 4 bits, four products a slice", "dsp48e2"),
    *(_matrix(name, matrix.CASES[name]) for name in (
        "input narrower than SIMD, output wider than PE",
        "input wider than SIMD, output narrower than PE",
    )),
    _with_mac("INT16 input, 3-bit weights", "lut"),
    _with_mac("8 by 8 bits, two cascades", "dsp48e2"),
    *(_matrix(name, matrix.CASES[name]) for name in (
        "wide ports", "two tokens at once, three beats a row", "padded sides", "unsigned output",
        "INT16 output", "raw accumulators", "one of everything",
        "one token a group, output wider than a block", "unsigned input", "wide products, added from an odd number of sums",
        "9-bit input does not pack", "many tokens a group", "empty columns", "very uneven",
    )),
    SelfCheck("halves", _halves),
    _ultra("words of 96 bits: three parts in four places"),
    _ultra("two banks"),
    _ultra("one weight a cycle: a word of less than 32 bits"),
    _with_mac("INT16 input", "dsp48e2"),
    _with_mac("unsigned input", "lut"),
    _with_mac("unsigned input", "dsp48e2"),
    _with_mac("blocks cut between lanes", "dsp48e2"),
))

UNITS = (MATRIX, TOKEN_DROP)
