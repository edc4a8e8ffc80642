"""The stitched accelerator in simulation: images in, logits out, cycles and internal streams on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from finn_vitprune import jobs, progress
from finn_vitprune.builds.stitched import deadlock
from finn_vitprune.builds.stitched.edges import StitchedEdge
from finn_vitprune.builds.stitched.stitch import LAST_BITS, MONITORED_TOP, StitchedDesign
from finn_vitprune.errors import UserError
from finn_vitprune.sim import BusPort, Port, Probe, SimResult, Simulator, Stimulus, compile_top
from finn_vitprune.sim.beats import Stream, pack, unpack
from finn_vitprune.sim.loads import read_loads

INPUT, OUTPUT = "s_axis_0", "m_axis_0"
WARM_UP_FRAMES = 2
"""Intervals count from the third overlapping frame on."""


@dataclass(frozen=True)
class RtlRun:
    """One simulation.

    Attributes:
        logits: int64 ``[F, classes]``.
        latency_cycles: of the first frame, which found the pipeline empty.
        intervals: distances between the last beats of neighbouring frames. batch: frames that go through an engine together; these leave
            one soon after another.
        cycles: of the whole run.
        traces: beats of the internal streams that were captured, and the stream, by consumer-side tensor name.
        max_fill: beats that each internal stream held at most.
    """

    logits: np.ndarray
    latency_cycles: int
    intervals: np.ndarray
    batch: int
    cycles: int
    traces: dict[str, tuple[np.ndarray, Stream]]
    max_fill: dict[str, int]

    def trace(self, tensor: str) -> np.ndarray:
        """What was captured of a stream outside of engines, int64 ``[frames, tokens, channels]``."""
        return unpack(*self.traces[tensor])

    @property
    def interval_cycles(self) -> float:
        """Mean distance of last output beats from the third frame on (NaN for fewer than four frames). Of images in batches it is over
        whole ones, without the last, which may have fewer images.
        """
        steady = self.intervals[WARM_UP_FRAMES:]
        if self.batch > 1 and len(steady) >= 2 * self.batch:
            steady = steady[: -self.batch]
            steady = steady[len(steady) % self.batch :]
        return float(np.mean(steady)) if len(steady) else float("nan")

    @property
    def interval_cycles_max(self) -> int:
        """The largest of these distances."""
        return int(max(self.intervals[WARM_UP_FRAMES:], default=0))


@dataclass(frozen=True)
class Simulated:
    """A design as it is simulated: the simulator, the folder in which it finds its files, what is loaded over its ports.

    With ``fill`` nothing is loaded: memories take their contents from files.
    """

    simulator: Simulator
    folder: Path
    loads: dict[str, np.ndarray]
    fill: bool = False


def in_one_piece(design: StitchedDesign) -> Simulated:
    """The monitored top, compiled with Verilator (from the cache where it was compiled before)."""
    simulator = compile_top(
        MONITORED_TOP,
        [design.folder / s for s in [*design.sources, f"{MONITORED_TOP}.v"]],
        inputs=[Port(INPUT, design.input.tdata_bits + LAST_BITS * design.frame_check)],
        outputs=[Port(OUTPUT, design.output.tdata_bits)],
        loads=[BusPort(load.port, load.address_bits) for load in design.loads],
        edges=edge_probes(design),
    )
    return Simulated(simulator, design.folder, read_loads(design.folder))


def edge_probes(design: StitchedDesign) -> list[Probe]:
    """What a simulator calls the internal streams."""
    return [Probe(f"edge{i}", edge.stream.tdata_bits) for i, edge in enumerate(design.edges)]


class RtlAccelerator:
    """A stitched design in simulation."""

    def __init__(self, design: StitchedDesign, simulated: Simulated | None = None) -> None:
        """Twice the slowest node's interval without any beat counts as a deadlock.

        Args:
            simulated: how; by default :func:`in_one_piece`.
        """
        self.design = design
        self.simulated = simulated or in_one_piece(design)
        self.idle_limit = max(2 * design.silent_cycles, 1000)

    def run(self, patches: np.ndarray, stimulus: Stimulus = Stimulus(), traced: int = 0, label: str = "images") -> RtlRun:
        """Run frames back to back.

        Args:
            patches: ``[F, patches, pixels per patch]`` uint8 values in the accelerator's input order.
            traced: so many of the first frames have every internal stream captured, in engines all batches that they are in.
            label: what the progress calls this run.
        Raises:
            UserError: the design deadlocks; the text names the FIFO and the two branches.
        """
        beats, pace = self.design.output.beats, progress.Pace(len(patches))
        progress.status(f"simulating {label}: frame {pace.at(0)}")
        run = self._run(len(patches), stimulus, traced)
        result = run(self._fed(patches), progress=lambda _, done: progress.status(f"simulating {label}: frame {pace.at(done // beats)}"))
        return self._found(result, len(patches))

    @contextmanager
    def beside(self, patches: np.ndarray, stimulus: Stimulus, workers: int, label: str) -> Iterator[Callable[[], RtlRun]]:
        """As :meth:`run`, beside what this process does in the block (:func:`.jobs.beside`); what the block gets waits for the run."""
        with jobs.beside(self._run(len(patches), stimulus), self._fed(patches), workers, lambda _: f"the run with {label}") as result:
            yield lambda: self._found(result(), len(patches))

    def _run(self, frames: int, stimulus: Stimulus, traced: int = 0) -> Callable[..., SimResult]:
        """The simulation of so many frames, which the beats of the input are given to."""
        simulated, (sink,) = self.simulated, self.simulated.simulator.outputs
        edges = zip(simulated.simulator.edges, self.design.edges)
        return partial(
            simulated.simulator.run,
            expected={sink.name: frames * self.design.output.beats},
            data_dir=simulated.folder,
            stimulus=stimulus,
            idle_limit=self.idle_limit,
            loads=simulated.loads,
            fill=simulated.fill,
            taps={probe.name: _captured(e, traced, frames) for probe, e in edges if traced and e.image_beats},
        )

    def _found(self, result: SimResult, frames: int) -> RtlRun:
        """What a simulation of so many frames gave."""
        design, simulator = self.design, self.simulated.simulator
        names = [edge.name for edge in simulator.edges]
        (source,), (sink,) = simulator.inputs, simulator.outputs
        beats = design.output.beats
        if result.deadlock is not None:
            states = [result.deadlock.edges[n] for n in names]
            raise UserError(
                deadlock.explain(
                    design.edges,
                    [(s.producer_valid, s.consumer_valid) for s in states],
                    [(s.producer_ready, s.consumer_ready) for s in states],
                )
                + f" (cycle {result.deadlock.cycle})"
            )
        if result.violations or result.extra_beats[sink.name]:
            raise UserError(f"the accelerator's output breaks the stream protocol: {result.violations or 'extra beats'}")
        first, last = result.in_cycles[source.name], result.out_cycles[sink.name]
        return RtlRun(
            logits=unpack(result.outputs[sink.name], design.output).reshape(frames, -1),
            latency_cycles=int(last[beats - 1] - first[0]) + 1,
            intervals=result.intervals(sink.name, beats),
            batch=design.batch,
            cycles=result.cycles,
            traces={e.tensor: (result.taps[n], e.stream) for n, e in zip(names, design.edges) if n in result.taps},
            max_fill={e.name: result.edges[n].max_fill for n, e in zip(names, design.edges)},
        )

    def _fed(self, patches: np.ndarray) -> dict[str, np.ndarray]:
        """Beats of the input by its name; with TLAST in each image's last beat where the simulated top has it."""
        (source,) = self.simulated.simulator.inputs
        beats = pack(patches, self.design.input)
        if source.width == self.design.input.tdata_bits:
            return {source.name: beats}
        last = np.zeros((len(beats), 1), np.uint8)
        last[self.design.input.beats - 1 :: self.design.input.beats] = 1
        return {source.name: np.concatenate([beats, last], axis=1)}


def _captured(edge: StitchedEdge, traced: int, frames: int) -> int:
    """Beats of the first ``traced`` of ``frames`` frames: with them may be the others of their last batch in an engine."""
    batch = edge.inside.batch if edge.inside else 1
    return min(traced + batch - 1, frames) * edge.image_beats
