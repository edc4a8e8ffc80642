"""One way to test an op's RTL: every beat against the golden model under every kind of traffic."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.bench.cycles import simulator_of
from finn_vitprune.bench.units import build_node
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.custom_ops.token_drop.token_drop import VitTokenDrop
from finn_vitprune.sim import SimResult, Simulator, Stimulus, beats
from finn_vitprune.sim.contents import Contents
from finn_vitprune.sim.loads import read_loads

PART = "xczu7ev-ffvc1156-2-e"
INTERVAL_FRAMES = 6
SHORT_RESET = 5
"""Cycles of a reset that a unit alone takes, shorter than that of a design."""
PATTERNS = (
    Stimulus(seed=11, pause=0.3, stall=0.3),
    Stimulus(seed=12, pause=0.1, stall=0.6),
    Stimulus(seed=13, pause=0.2, stall=0.2, burst=17),
    Stimulus(seed=14, pause=0.5),
    Stimulus(seed=15, stall=0.5),
    Stimulus(seed=16, stall=0.05, burst=60),
)


@dataclass(frozen=True)
class BuiltOp:
    """An op with generated HDL and a compiled simulator.

    ``folder`` holds its sources and ROM files and lives as long as the object.
    """

    op: VitOp
    model: ModelWrapper
    initialisers: tuple[np.ndarray, ...]
    simulator: Simulator
    folder: Path
    _keep: tempfile.TemporaryDirectory

    def expected(self, streams: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The golden model's outputs, ``[frames, tokens, channels]``."""
        return self.op.compute(*(np.asarray(s, np.int64) for s in streams), *self.initialisers)

    def run(
        self, streams: Sequence[np.ndarray], stimulus: Stimulus = Stimulus(), loads: dict | None = None, fill: bool = False
    ) -> SimResult:
        """Feed ``[frames, tokens, channels]`` arrays, compare with :meth:`expected` (see ``result.ok``).

        ``loads`` are the words by port in place of the op's contents; with ``fill`` the memories take their contents from files first,
        and without ``loads`` nothing is loaded.
        """
        feed = {f"in{i}_V": beats.pack(v, s) for i, (v, s) in enumerate(zip(streams, self.op.in_streams()))}
        golden = self.expected(streams)
        assert len(golden) == len(self.op.out_streams())
        want = {f"out{i}_V": beats.pack(v, s) for i, (v, s) in enumerate(zip(golden, self.op.out_streams()))}
        limit = 4 * int(self.op.get_exp_cycles()) + 4000
        words = loads if loads is not None else {} if fill else read_loads(self.folder)
        return self.simulator.run(feed, want, data_dir=self.folder, stimulus=stimulus, idle_limit=limit, loads=words, fill=fill)


@dataclass(frozen=True)
class Checked:
    """What :func:`check_op` measured, in cycles: between frames, and from first input to last output."""

    built: BuiltOp
    interval: float
    latency: int


def check_loaded_again(built: BuiltOp, other: tuple[str, dict, Sequence[np.ndarray]], streams: Sequence[np.ndarray]) -> None:
    """Assert that of the contents of ``other``, which are there first, nothing is left when those of ``built`` are loaded.

    Args:
        other: op type, attributes and initialisers of a unit with the same RTL.
    """
    op, _, keep = generate_op(*other)
    assert op.wrapper_text() == built.op.wrapper_text()
    Contents.load(Path(keep.name)).fill(built.folder)
    result = built.run(streams, loads=read_loads(built.folder), fill=True)
    assert result.ok, (result.deadlock, result.mismatches, result.violations)


def build_op(op_type: str, attrs: dict, initialisers: Sequence[np.ndarray] = (), name: str = "dut") -> BuiltOp:
    """The RTL node of ``op_type`` in a model of its own, with HDL and simulator."""
    op, model, keep = generate_op(op_type, attrs, initialisers, name)
    arrays = tuple(np.asarray(a, np.int64) for a in initialisers)
    return BuiltOp(op, model, arrays, simulator_of(op), Path(keep.name), keep)


def generate_op(
    op_type: str, attrs: dict, initialisers: Sequence[np.ndarray] = (), name: str = "dut"
) -> tuple[VitOp, ModelWrapper, tempfile.TemporaryDirectory]:
    """An op with HDL, its model, and the folder of the HDL."""
    op, model = build_node(op_type, attrs, initialisers, name)
    keep = tempfile.TemporaryDirectory(prefix="vitprune-op-")
    op.set_nodeattr("code_gen_dir_ipgen", keep.name)
    op.code_generation_ipgen(model, PART, 5.0)
    return op, model, keep


def check_op(
    op_type: str,
    attrs: dict,
    streams: Sequence[np.ndarray],
    initialisers: Sequence[np.ndarray] = (),
    frames_overlap: int = 3,
    patterns: Sequence[Stimulus] = PATTERNS,
    interval: bool = True,
) -> Checked:
    """Assert that the RTL of an op equals its golden model, keeps its interval and latency and survives a reset.

    All frames go in back to back, so that they overlap in the unit. Fewer frames than
    ``frames_overlap`` are repeated. Runs: no pauses; every one of ``patterns``; reset in mid-frame and
    then all frames again, with and without pauses.

    Args:
        streams: ``[frames, tokens, channels]`` integers for each input stream.
        initialisers: integer arrays for the node's further inputs.
        interval: whether the steady interval must be ``get_exp_cycles`` within 2 % (or 2 cycles).
    """
    return check_built(build_op(op_type, attrs, initialisers), streams, frames_overlap, patterns, interval)


def check_built(
    built: BuiltOp, streams: Sequence[np.ndarray], frames_overlap: int = 3, patterns: Sequence[Stimulus] = PATTERNS, interval: bool = True
) -> Checked:
    """:func:`check_op` of an op that is built already."""
    feed = [_repeat(s, frames_overlap) for s in streams]
    first = built.run(feed)
    assert_ok(first, built, feed, Stimulus())
    middle = max(3, first.cycles // 2)
    resets = (
        Stimulus(seed=21, reset_at=middle, reset_cycles=SHORT_RESET),
        Stimulus(seed=22, pause=0.2, stall=0.3, reset_at=2 * middle // 3, reset_cycles=SHORT_RESET),
    )
    for stimulus in (*patterns, *resets):
        assert_ok(built.run(feed, stimulus), built, feed, stimulus)
    steady, latency = measure(built, streams)
    if interval:
        expected = built.op.get_exp_cycles()
        assert abs(steady - expected) <= max(2, 0.02 * expected), (
            f"{built.op.onnx_node.op_type}: measured interval {steady}, get_exp_cycles says {expected}"
        )
    formula = formula_latency(built.op)
    assert 0 <= latency - formula <= start_cycles(built.op), (
        f"{built.op.onnx_node.op_type}: a lone frame takes {latency} cycles, {formula} by formula"
    )
    return Checked(built, steady, latency)


def start_cycles(op: VitOp) -> int:
    """Most cycles that a lone frame right after a reset takes longer than by formula: a token drop pads its cells, or clears its bins.

    The first row of a frame waits up to 3 cycles for its decision; the last one, where a loaded unit drops nothing, 5 for the last score.
    """
    if not isinstance(op, VitTokenDrop):
        return 0
    fold = op.folding()
    if fold.drops == 0:
        return 5 if fold.loaded else 0
    return max(3, fold.ranking.frame - fold.ranking.cycles + 1)


def formula_latency(op: VitOp) -> int:
    """Cycles of a lone frame that comes without a pause, by :meth:`.VitOp.pass_times`."""
    arrivals = [TokenTimes.steady(stream.tokens, stream.token_beats) for stream in op.in_streams()]
    return math.ceil(max(times.last[-1] for times in op.pass_times(arrivals))) + 1


def measure(built: BuiltOp, streams: Sequence[np.ndarray]) -> tuple[float, int]:
    """``(interval, latency)`` in cycles: mean distance of frame ends from the third on, one frame alone."""
    many = [_repeat(s, INTERVAL_FRAMES) for s in streams]
    result = built.run(many)
    assert_ok(result, built, many, Stimulus())
    steady = max(result.intervals(f"out{i}_V", s.beats)[1:].mean() for i, s in enumerate(built.op.out_streams()))
    return float(steady), built.run([s[:1] for s in streams]).latency()


def check_frame_taken(built: BuiltOp) -> None:
    """Assert that a whole frame goes in while the output stands still."""
    stream = built.op.in_streams()[0]
    data = beats.pack(random_stream(stream, 1, 1), stream)
    result = built.simulator.run({"in0_V": data}, {"out0_V": 1}, stimulus=Stimulus(stall=1.0), idle_limit=60)
    assert len(result.in_cycles["in0_V"]) == len(data)


def assert_ok(result: SimResult, built: BuiltOp, streams: Sequence[np.ndarray], stimulus: Stimulus) -> None:
    """Fail with the stream, frame, token and channels that differ, or with what stood still."""
    assert result.deadlock is None, f"{stimulus}: {result.deadlock}"
    golden = built.expected(streams)
    for i, stream in enumerate(built.op.out_streams()):
        port = f"out{i}_V"
        wrong = result.mismatches[port]
        if len(wrong):
            got = beats.unpack(result.outputs[port], stream)
            frame, token, channel = np.argwhere(got != golden[i])[0]
            raise AssertionError(
                f"{stimulus}: {len(wrong)} of {len(result.outputs[port])} beats of {port} differ, first at"
                f" frame {frame}, token {token}, channel {channel}: got {got[frame, token, channel]},"
                f" expected {golden[i][frame, token, channel]}"
            )
        assert result.extra_beats[port] == 0, f"{stimulus}: {result.extra_beats[port]} beats too many at {port}"
    assert not result.violations, f"{stimulus}: handshake broken at {result.violations}"


def random_stream(stream, frames: int, seed: int) -> np.ndarray:
    """Uniform codes ``[frames, tokens, channels]`` of the stream's type, the extremes among them."""
    rng = np.random.default_rng(seed)
    lo, hi = int(stream.dtype.min()), int(stream.dtype.max())
    values = rng.integers(lo, hi, (frames, stream.tokens, stream.channels), endpoint=True)
    extreme = rng.random(values.shape) < 0.05
    return np.where(extreme, rng.choice([lo, hi], values.shape), values)


def _repeat(values: np.ndarray, frames: int) -> np.ndarray:
    values = np.asarray(values)
    return np.tile(values, (-(-frames // len(values)), 1, 1)) if len(values) < frames else values
