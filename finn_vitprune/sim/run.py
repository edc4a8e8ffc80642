"""Runs packed beats through a compiled simulator and reads back what came out, when, and what stood still."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from finn_vitprune.errors import UserError
from finn_vitprune.processes import ProcessGroup, fault
from finn_vitprune.sim.ports import BusPort, LoadPort, Port, Probe
from finn_vitprune.sim.toolchain import SimulationError

DRAIN_CYCLES = 32
"""Cycles that a run continues after the last expected beat, to see beats that should not be there."""
RESET_CYCLES = 16
"""A reset lasts so long at least. It reaches the units through registers, fewer than that (``docs/rtl.md``)."""
FILL = ("+fill", "+verilator+rand+reset+0")
"""Memories are filled from files. Registers begin at 0, as in an FPGA: a load that a random one began would end what is filled."""


@dataclass(frozen=True)
class Stimulus:
    """How sources and sinks behave.

    Attributes:
        seed: of the generators of pauses and stalls and of the uninitialised registers.
        pause: probability, per cycle, that a source that could offer its next beat pauses; one number,
            or by port name (absent ports never pause).
        stall: probability that a sink is not ready, likewise; 1 for a sink that never is.
        burst: a pause or stall lasts 1 to ``burst`` cycles.
        reset_at: cycle at which reset comes again; everything starts again from the first
            beat, results and cycle count included. If the beats run out before, it comes then.
        reset_cycles: how long each reset lasts; designs want :data:`RESET_CYCLES` at least.
        load_first: streams start (cycle 0) when all loads are done, else beside them; a unit alone, which has no gate, is
            always loaded first.
    """

    seed: int = 1
    pause: float | Mapping[str, float] = 0.0
    stall: float | Mapping[str, float] = 0.0
    burst: int = 1
    reset_at: int | None = None
    reset_cycles: int = RESET_CYCLES
    load_first: bool = True


@dataclass(frozen=True)
class StreamState:
    """Where a port stood at the end: beats through, beats asked for, and its handshake."""

    beats: int
    total: int
    valid: bool
    ready: bool


@dataclass(frozen=True)
class LoadState:
    """A port through which memories are loaded at the end: steps (of a bus) or words (of a chain) done and asked for.

    ``cycles`` are those of all loads before the streams started. ``violation`` is the first cycle (of the load, or of the
    run once streams flow) of a breach, -1 without: an answer that nobody asked for or that did not stay until it was taken;
    of a chain, anything that came back but start and the last word. ``reads`` are the words that were read from a bus.
    """

    done: int
    total: int
    cycles: int
    violation: int
    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Evaluations:
    """How often a unit was evaluated, and how often it was not, because that would have changed nothing."""

    done: int
    skipped: int


@dataclass(frozen=True)
class EdgeState:
    """Where an internal stream stood at the end: beats into and out of its FIFO, and both handshakes."""

    beats_in: int
    beats_out: int
    max_fill: int
    last_in: int
    last_out: int
    producer_valid: bool
    producer_ready: bool
    consumer_valid: bool
    consumer_ready: bool


@dataclass(frozen=True)
class Deadlock:
    """A standstill while input was pending or output owed.

    ``cycle`` is the last cycle in which a beat moved, -1 when none ever did.
    """

    cycle: int
    inputs: dict[str, StreamState]
    outputs: dict[str, StreamState]
    edges: dict[str, EdgeState]

    def __str__(self) -> str:
        """One line per stream that waits."""
        lines = [f"no beat moved after cycle {self.cycle}"]
        for kind, ports in (("input", self.inputs), ("output", self.outputs)):
            for name, s in ports.items():
                if s.beats < s.total:
                    lines.append(f"{kind} {name}: {s.beats} of {s.total} beats, valid {s.valid:d}, ready {s.ready:d}")
        for name, e in self.edges.items():
            if e.producer_valid and not e.producer_ready:
                lines.append(f"{name}: full with {e.beats_in - e.beats_out} beats, its producer waits")
            if e.consumer_ready and not e.consumer_valid:
                lines.append(f"{name}: empty after {e.beats_out} beats, its consumer waits")
        return "\n".join(lines)


@dataclass(frozen=True)
class SimResult:
    """What a run gave.

    Attributes:
        outputs: uint8 ``[beats, bytes]`` by port.
        in_cycles, out_cycles: int64 cycle of each accepted beat by port; cycle 0 follows reset.
        cycles: cycles simulated after reset.
        deadlock: None, or what stood still.
        mismatches: by output that was given expected beats: indices of the beats that differ or lack.
        extra_beats: by output: beats that came after all expected ones.
        violations: by output: first cycle in which valid fell or data changed before ready; by port of a load:
            that of :class:`LoadState`; only ports that did so.
        taps: data of the chosen edges, uint8 ``[beats, bytes]``.
        edges: the full state of every edge at the end.
        loads: by port of a load: what was done there.
        evaluations: by unit, of a design that is simulated unit by unit.
        pins: uint64 ``[cycles]``, a digest of what was at the pins of all units in each cycle, where that was asked for.
    """

    outputs: dict[str, np.ndarray]
    in_cycles: dict[str, np.ndarray]
    out_cycles: dict[str, np.ndarray]
    cycles: int
    deadlock: Deadlock | None
    mismatches: dict[str, np.ndarray]
    extra_beats: dict[str, int]
    violations: dict[str, int]
    taps: dict[str, np.ndarray] = field(default_factory=dict)
    edges: dict[str, EdgeState] = field(default_factory=dict)
    loads: dict[str, LoadState] = field(default_factory=dict)
    evaluations: dict[str, Evaluations] = field(default_factory=dict)
    pins: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))

    @property
    def ok(self) -> bool:
        """No standstill, no beat wrong, missing or too many, no handshake broken."""
        wrong = any(len(m) for m in self.mismatches.values()) or any(self.extra_beats.values())
        return self.deadlock is None and not wrong and not self.violations

    def latency(self) -> int:
        """Cycles from the first input beat accepted to the last output beat, both counted."""
        first = min(int(c[0]) for c in self.in_cycles.values() if len(c))
        return max(int(c[-1]) for c in self.out_cycles.values() if len(c)) - first + 1

    def intervals(self, port: str, beats_per_frame: int) -> np.ndarray:
        """Distances between the last beats of neighbouring frames of an output, int64 ``[frames - 1]``."""
        return np.diff(self.out_cycles[port][beats_per_frame - 1 :: beats_per_frame])


@dataclass(frozen=True)
class Simulator:
    """A compiled design. Runs share nothing: several may continue at once."""

    executable: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    edges: tuple[Probe, ...] = ()
    loads: tuple[LoadPort, ...] = ()
    units: tuple[str, ...] = ()

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        expected: Mapping[str, np.ndarray | int],
        data_dir: Path | str | None = None,
        stimulus: Stimulus = Stimulus(),
        idle_limit: int = 10_000,
        max_cycles: int = 0,
        taps: Mapping[str, int] = MappingProxyType({}),
        progress: Callable[[int, int], None] | None = None,
        loads: Mapping[str, np.ndarray] = MappingProxyType({}),
        fill: bool = False,
        skip: bool = True,
        record: bool = False,
    ) -> SimResult:
        """Feed all input beats and wait for all expected output beats.

        Args:
            inputs: uint8 ``[beats, bytes]`` for every input port.
            expected: for every output port the beats it should give, or only their number.
            data_dir: folder with the ROM files, the working folder of the run.
            idle_limit: a run in which nothing moved for so many cycles is a deadlock.
            max_cycles: upper bound of cycles, 0 for none; reaching it is reported as a deadlock.
            taps: names of edges whose data is captured, and so many of their first beats.
            progress: called now and then with cycles so far and output beats so far.
            loads: for every AXI4-Lite port its steps (:mod:`.bus`), for a load chain its data words, uint32 ``[words]``.
            fill: memories take their contents at time 0 from files in ``data_dir`` (:meth:`.contents.Contents.fill`), nothing
                is loaded, and ``loads`` may be left out.
            skip: units that would not change are not evaluated, which makes no difference but in time.
            record: the result has :attr:`SimResult.pins`; of a design that is simulated unit by unit.

        Raises:
            SimulationError: the model stopped itself (``$error``), lacks a ROM file, or crashed.
            UserError: the simulation was killed, or its disk is full.
            ValueError: a port or edge is unknown or beats have another shape than the port.
        """
        if fill:
            loads = {p.name: np.zeros((0, 4), np.uint32) for p in self.loads} | dict(loads)
        self._check(inputs, expected, taps, loads)
        counts = {k: int(v) if isinstance(v, int | np.integer) else len(v) for k, v in expected.items()}
        with tempfile.TemporaryDirectory(prefix="vitprune-sim-") as name:
            folder = Path(name)
            config = [
                f"seed {stimulus.seed}",
                f"idle_limit {idle_limit}",
                f"max_cycles {max_cycles}",
                f"drain {DRAIN_CYCLES}",
                f"progress {int(progress is not None)}",
                f"skip {int(skip)}",
                f"record {int(record)}",
                f"reset_cycles {stimulus.reset_cycles}",
                f"reset_at {-1 if stimulus.reset_at is None else stimulus.reset_at}",
            ]
            for i, port in enumerate(self.inputs):
                np.ascontiguousarray(inputs[port.name], dtype=np.uint8).tofile(folder / f"in{i}.data")
                share = _share(stimulus.pause, port.name)
                config.append(f"in {len(inputs[port.name])} {share} {stimulus.burst}")
            for port in self.outputs:
                config.append(f"out {counts[port.name]} {_share(stimulus.stall, port.name)} {stimulus.burst}")
            gated = all(isinstance(port, BusPort) for port in self.loads)
            config.append(f"streams_at_once {int(gated and not stimulus.load_first)}")
            for i, load in enumerate(self.loads):
                steps = np.ascontiguousarray(loads[load.name], dtype=np.uint32)
                kind = "bus" if isinstance(load, BusPort) else "chain"
                if kind == "chain" and len(steps):
                    steps = np.append(steps, np.uint32(stimulus.seed ^ 0x5A5A5A5A))  # the word that must come back
                steps.tofile(folder / f"load{i}.data")
                config.append(f"{kind} {len(steps)} {_share(stimulus.pause, load.name)} {stimulus.burst}")
            names = [e.name for e in self.edges]
            config += [f"tap {names.index(name)} {beats}" for name, beats in taps.items()]
            (folder / "config").write_text("\n".join(config) + "\n")
            self._execute(folder, data_dir, stimulus.seed, progress, FILL if fill else [])
            return self._read(folder, inputs, expected, counts, taps)

    def _check(self, inputs: Mapping, expected: Mapping, taps: Mapping, loads: Mapping) -> None:
        for ports, given, kind in ((self.inputs, inputs, "input"), (self.outputs, expected, "output")):
            if {p.name for p in ports} != set(given):
                raise ValueError(f"{kind}s are {[p.name for p in ports]}, not {list(given)}")
            for p in ports:
                shape = np.shape(given[p.name])
                if shape and (len(shape) != 2 or shape[1] != p.bytes):
                    raise ValueError(f"{kind} {p.name} takes [beats, {p.bytes}] bytes, not {list(shape)}")
        if {p.name for p in self.loads} != set(loads):
            raise ValueError(f"ports of loads are {[p.name for p in self.loads]}, not {list(loads)}")
        for load in self.loads:
            shape = np.shape(loads[load.name])
            if isinstance(load, BusPort) and (len(shape) != 2 or shape[1] != 4):
                raise ValueError(f"{load.name} takes steps [steps, 4], not {list(shape)}")
        unknown = set(taps) - {e.name for e in self.edges}
        if unknown:
            raise ValueError(f"no internal stream is called {sorted(unknown)}")

    def _execute(
        self, folder: Path, data_dir: Path | str | None, seed: int, progress: Callable[[int, int], None] | None, plusargs: Sequence[str]
    ) -> None:
        command = [str(self.executable), str(folder / "config"), str(folder), str(seed & 0x7FFFFFFF or 1), *plusargs]
        errors = folder / "stderr"
        printed = []
        with errors.open("w") as sink, ProcessGroup() as group:
            process = group.start(command, cwd=data_dir or folder, stdout=subprocess.PIPE, stderr=sink, text=True)
            assert process.stdout is not None  # a pipe
            for line in process.stdout:
                if progress is not None and line.startswith("progress "):
                    progress(*map(int, line.split()[1:]))
                else:
                    printed.append(line)
            process.wait()
        text = "".join(printed) + errors.read_text()
        if reason := process.returncode and fault(process.returncode, text):
            raise UserError(f"the simulation of {self.executable.parent.name}: {reason}")
        if process.returncode or "$readmem" in text or not (folder / "status").is_file():
            lines = text.strip().splitlines()[:20] or [f"it ended with code {process.returncode}"]
            raise SimulationError(f"the simulation of {self.executable.parent.name} failed:\n" + "\n".join(lines))

    def _read(self, folder: Path, inputs: Mapping, expected: Mapping, counts: Mapping[str, int], taps: Mapping) -> SimResult:
        records = [line.split() for line in (folder / "status").read_text().splitlines()]
        end = records[0][1:]
        status = {kind: [[int(w) for w in r[1:]] for r in records if r[0] == kind] for kind in ("in", "out", "edge", "load", "unit")}
        ins = {
            p.name: StreamState(beats, len(inputs[p.name]), bool(valid), bool(ready))
            for p, (beats, valid, ready) in zip(self.inputs, status["in"])
        }
        outs = {p.name: StreamState(r[0], counts[p.name], bool(r[1]), bool(r[2])) for p, r in zip(self.outputs, status["out"])}
        edges = {
            e.name: EdgeState(r[0], r[1], r[2], r[3], r[4], bool(r[5]), bool(r[6]), bool(r[7]), bool(r[8]))
            for e, r in zip(self.edges, status["edge"])
        }
        outputs = {p.name: np.fromfile(folder / f"out{i}.data", np.uint8).reshape(-1, p.bytes) for i, p in enumerate(self.outputs)}
        tapped = {
            e.name: np.fromfile(folder / f"tap{i}.data", np.uint8).reshape(-1, e.bytes) for i, e in enumerate(self.edges) if e.name in taps
        }
        loads = {p.name: LoadState(r[0], r[1], r[2], r[3], tuple(r[4:])) for p, r in zip(self.loads, status["load"])}
        broken = {p.name: r[4] for p, r in zip(self.outputs, status["out"])}
        broken |= {name: state.violation for name, state in loads.items()}
        return SimResult(
            outputs=outputs,
            in_cycles={p.name: np.fromfile(folder / f"in{i}.cycles", np.int64) for i, p in enumerate(self.inputs)},
            out_cycles={p.name: np.fromfile(folder / f"out{i}.cycles", np.int64) for i, p in enumerate(self.outputs)},
            cycles=int(end[1]),
            deadlock=None if end[0] == "done" else Deadlock(int(end[2]) - 1, ins, outs, edges),
            mismatches={k: _differing(outputs[k], v) for k, v in expected.items() if np.ndim(v)},
            extra_beats={p.name: r[3] for p, r in zip(self.outputs, status["out"])},
            violations={name: cycle for name, cycle in broken.items() if cycle >= 0},
            taps=tapped,
            edges=edges,
            loads=loads,
            evaluations={name: Evaluations(*r) for name, r in zip(self.units, status["unit"])},
            pins=np.fromfile(folder / "pins", np.uint64) if (folder / "pins").is_file() else np.zeros(0, np.uint64),
        )


def _share(value: float | Mapping[str, float], port: str) -> float:
    share = value.get(port, 0.0) if isinstance(value, Mapping) else value
    if not 0 <= share <= 1:
        raise ValueError(f"the share of idle cycles of {port} is {share}, it must be 0 to 1")
    return share


def _differing(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Indices of beats that differ, those that never came included."""
    n = len(got)
    wrong = np.flatnonzero((got != np.asarray(expected, np.uint8)[:n]).any(axis=1))
    return np.concatenate([wrong, np.arange(n, len(expected))])
