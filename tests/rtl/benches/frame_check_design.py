"""TLAST and the count of wrong frames as parts of beats: a top round a design that checks its frames, for tests that drive both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.sim import Port, SimResult, Simulator, Stimulus, compile_top
from finn_vitprune.sim.beats import pack
from tests.rtl.benches.helper import random_stream

TOP, SOURCE, SINK = "checked", "in0", "out0"
COUNT_BYTES = 4


@dataclass(frozen=True)
class Sent:
    """Beats that a source sends, with TLAST in those of ``last``; what a check makes of them: whole frames, and how many are wrong."""

    beats: np.ndarray
    last: np.ndarray
    passed: np.ndarray
    wrong: int

    @property
    def fed(self) -> np.ndarray:
        """Beats with TLAST in the byte above."""
        return np.concatenate([self.beats, self.last[:, None].astype(np.uint8)], axis=1)


def sent(frames: np.ndarray, lengths: Sequence[int], ends: Sequence[bool], each: bool) -> Sent:
    """Frame i of ``frames``, uint8 ``[n, beats, bytes]``, sent with ``lengths[i]`` beats, those that are too many copies of its first
    one, and TLAST in its last one where ``ends[i]``. What passes follows from where TLAST is, beat by beat."""
    size = frames.shape[1]
    beats = np.concatenate([frame[[i if i < size else 0 for i in range(n)]] for frame, n in zip(frames, lengths, strict=True)])
    last = np.concatenate([[*[False] * (n - 1), end] for n, end in zip(lengths, ends, strict=True)])
    passed, wrong, dropping, seen = [], 0, False, False
    for beat, end in zip(beats, last):
        if not dropping:
            passed.append(beat)
            missing = -len(passed) % size
            if end and missing:
                passed += [np.zeros_like(beat)] * missing
                wrong += 1
            elif each and seen and not end and not missing:
                dropping = True
                wrong += 1
        elif end:
            dropping = False
        seen |= bool(end)
    return Sent(beats, last, np.array(passed), wrong)


def compile_checked(inner: str, sources: Sequence[Path | str], ports: tuple[str, str], bits: tuple[int, int], folder: Path) -> Simulator:
    """A simulator of module ``inner`` with the top round it that is written to ``folder``.

    Args:
        ports: names of its input and output stream. bits: of their tdata.
    """
    return compile_top(TOP, [*sources, write_top(inner, ports, bits, folder)], *checked_ports(bits))


def write_top(inner: str, ports: tuple[str, str], bits: tuple[int, int], folder: Path) -> Path:
    """The file of :func:`checked_text`."""
    path = folder / f"{TOP}.v"
    path.write_text(checked_text(inner, ports, bits))
    return path


def checked_ports(bits: tuple[int, int]) -> tuple[list[Port], list[Port]]:
    """Those of the top, with TLAST and the count in their beats."""
    return [Port(SOURCE, bits[0] + 8)], [Port(SINK, bits[1] + 8 * COUNT_BYTES)]


def checked_text(inner: str, ports: tuple[str, str], bits: tuple[int, int]) -> str:
    """TLAST is the lowest bit of the byte above a beat that comes, the count is in four bytes above one that leaves."""
    (into, out_of), (wide, out_wide) = ports, bits
    return f"""module {TOP} (
    input wire ap_clk, input wire ap_rst_n, input wire [{wide + 7}:0] {SOURCE}_tdata, input wire {SOURCE}_tvalid, output wire {SOURCE}_tready,
    output wire [{out_wide + 8 * COUNT_BYTES - 1}:0] {SINK}_tdata, output wire {SINK}_tvalid, input wire {SINK}_tready
);
    wire [{8 * COUNT_BYTES - 1}:0] wrong;
    reg [{8 * COUNT_BYTES - 1}:0] shown;  // as it was when the beat was first there: a beat that waits does not change
    reg waits;
    always @(posedge ap_clk) begin
        if (!(waits && {SINK}_tvalid)) shown <= wrong;
        waits <= ap_rst_n && {SINK}_tvalid && !{SINK}_tready;
    end
    assign {SINK}_tdata[{out_wide + 8 * COUNT_BYTES - 1}:{out_wide}] = waits ? shown : wrong;
    {inner} inner (
        .ap_clk(ap_clk), .ap_rst_n(ap_rst_n), .{into}_tdata({SOURCE}_tdata[{wide - 1}:0]), .{into}_tlast({SOURCE}_tdata[{wide}]),
        .{into}_tvalid({SOURCE}_tvalid), .{into}_tready({SOURCE}_tready), .{out_of}_tdata({SINK}_tdata[{out_wide - 1}:0]),
        .{out_of}_tvalid({SINK}_tvalid), .{out_of}_tready({SINK}_tready), .wrong_frames(wrong)
    );
endmodule
"""


def run_checked(simulator: Simulator, given: Sent, wanted: np.ndarray, folder: Path, stimulus: Stimulus) -> SimResult:
    """Feed ``given``; assert that ``wanted``, uint8 ``[beats, bytes]``, leaves, and that the last beat finds the right count."""
    result = simulator.run({SOURCE: given.fed}, {SINK: len(wanted)}, data_dir=folder, stimulus=stimulus, idle_limit=3000)
    assert result.deadlock is None and not result.violations, f"{stimulus}: {result.deadlock}, {result.violations}"
    assert not result.extra_beats[SINK], f"{stimulus}: {result.extra_beats[SINK]} beats too many"
    found, counts = result.outputs[SINK][:, :-COUNT_BYTES], result.outputs[SINK][:, -COUNT_BYTES:]
    wrong = np.flatnonzero((found != wanted).any(axis=1))
    assert not len(wrong), f"{stimulus}: beats {wrong[:5]} differ"
    count = int(counts[-1].copy().view("<u4")[0])
    assert count == given.wrong, f"{stimulus}: {count} wrong frames are counted, {given.wrong} came"
    return result


# --- the unit alone ---


@dataclass(frozen=True)
class Check:
    """A unit: tokens and elements of a frame, elements a beat, and whether each frame ends with TLAST."""

    tokens: int
    channels: int
    simd: int
    each: int

    @property
    def attributes(self) -> dict[str, int | str]:
        return {"tokens": self.tokens, "channels": self.channels, "SIMD": self.simd, "inputDataType": "UINT8", "each": self.each}


CHECKS = {
    "3 beats, TLAST with each frame": Check(3, 2, 2, 1),
    "4 beats, TLAST with some frames": Check(2, 6, 3, 0),
    "a beat, TLAST with each frame": Check(1, 2, 2, 1),
    "a beat, TLAST with some frames": Check(1, 3, 3, 0),
    "5 beats, TLAST with each frame": Check(5, 1, 1, 1),
}
PORTS = ("in0_V", "out0_V")
CASES = (
    *(Stimulus(seed=i, pause=0.3, stall=0.3) for i in range(3)),
    Stimulus(seed=4, stall=0.6),
    Stimulus(seed=5, pause=0.6),
    Stimulus(seed=6, stall=0.2, burst=20),
    Stimulus(seed=7, pause=0.2, stall=0.2, reset_at=37),
    Stimulus(seed=8, reset_at=22),
)


def check_frames(op: VitOp, simulator: Simulator, folder: Path) -> None:
    """Assert that whole frames leave and wrong ones are counted: of frames that are right, too short and too long by any number of beats, one
    after another, whatever pauses and stalls; that right ones pass a beat a cycle; and that without TLAST nothing is counted."""
    stream, each = op.in_streams()[0], bool(op.get_nodeattr("each"))
    size, rng = stream.beats, np.random.default_rng(9)
    right = pack(random_stream(stream, 8, 2), stream).reshape(8, size, -1)
    marked = [each or i % 3 == 1 for i in range(8)]
    result = run_checked(simulator, sent(right, [size] * 8, marked, each), right.reshape(8 * size, -1), folder, Stimulus())
    assert np.ptp(result.in_cycles[SOURCE]) == 8 * size - 1, "frames that are right pass a beat a cycle"
    run_checked(simulator, sent(right, [size] * 8, [False] * 8, each), right.reshape(8 * size, -1), folder, CASES[0])
    late = sent(right, [size] * 8, [i > 1 for i in range(8)], each)  # after a reset, too, nothing is checked before the first TLAST
    run_checked(simulator, late, right.reshape(8 * size, -1), folder, Stimulus(seed=1, reset_at=6 * size))
    seen = set()
    for stimulus in (Stimulus(), *CASES):
        frames = pack(random_stream(stream, 40, stimulus.seed), stream).reshape(40, size, -1)
        lengths = rng.choice([size, size, *range(1, 2 * size + 2)], 40)
        ends = each | (lengths != size) | (rng.random(40) < 0.3)
        lengths[-1], ends[-1] = size, True
        given = sent(frames, lengths, ends, each)
        run_checked(simulator, given, given.passed, folder, stimulus)
        seen.add(given.wrong)
    assert min(seen) > 0 or size == 1, seen
