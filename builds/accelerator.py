"""The stitched accelerator in simulation: images in, logits out, cycles and internal streams on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finn_vitprune import progress
from finn_vitprune.builds import deadlock
from finn_vitprune.builds.stitch import MONITORED_TOP, StitchedDesign
from finn_vitprune.errors import UserError
from finn_vitprune.sim import LoaderPort, Port, Probe, Simulator, Stimulus, compile_top
from finn_vitprune.sim.beats import pack, unpack
from finn_vitprune.sim.loads import read_loads

INPUT, OUTPUT = "s_axis_0", "m_axis_0"
WARM_UP_FRAMES = 2
"""Intervals count from the third overlapping frame on."""


@dataclass(frozen=True)
class RtlRun:
    """One simulation: ``logits`` int64 ``[F, classes]``, cycles, internal streams that were traced."""

    logits: np.ndarray
    latency_cycles: int
    intervals: np.ndarray
    cycles: int
    traces: dict[str, np.ndarray]
    max_fill: dict[str, int]

    @property
    def interval_cycles(self) -> float:
        """Mean distance of last output beats from the third frame on (NaN for fewer than four frames)."""
        steady = self.intervals[WARM_UP_FRAMES:]
        return float(np.mean(steady)) if len(steady) else float("nan")

    @property
    def interval_cycles_max(self) -> int:
        """The largest of these distances."""
        return int(max(self.intervals[WARM_UP_FRAMES:], default=0))


class Accelerator:
    """A stitched design compiled with Verilator (from the cache where it was compiled before)."""

    def __init__(self, design: StitchedDesign) -> None:
        """Compile the monitored top. Twice the slowest node's interval without any beat counts as a deadlock."""
        self.design = design
        self.loads = read_loads(design.folder)
        self.idle_limit = max(2 * design.slowest_cycles, 1000)
        self.edge_names = [f"edge{i}" for i in range(len(design.edges))]
        self.simulator: Simulator = compile_top(
            MONITORED_TOP,
            [design.folder / s for s in [*design.sources, f"{MONITORED_TOP}.v"]],
            inputs=[Port(INPUT, design.input.tdata_bits)],
            outputs=[Port(OUTPUT, design.output.tdata_bits)],
            loads=[LoaderPort(load.port, load.address_bits) for load in design.loads],
            edges=[Probe(name, e.stream.tdata_bits) for name, e in zip(self.edge_names, design.edges)],
        )

    def run(
        self,
        patches: np.ndarray,
        stimulus: Stimulus = Stimulus(),
        trace: bool = False,
        label: str = "images",
    ) -> RtlRun:
        """Run frames back to back.

        Args:
            patches: ``[F, patches, pixels per patch]`` uint8 values in the accelerator's input order.
            trace: also capture every internal stream (``traces`` by consumer-side tensor name).
            label: what the progress calls this run.
        Raises:
            UserError: the design deadlocks; the text names the FIFO and the two branches.
        """
        design, names, frames = self.design, self.edge_names, len(patches)
        beats = design.output.beats
        result = self.simulator.run(
            {INPUT: pack(patches, design.input)},
            {OUTPUT: frames * beats},
            data_dir=design.folder,
            stimulus=stimulus,
            idle_limit=self.idle_limit,
            loads=self.loads,
            taps=names if trace else (),
            progress=lambda _, done: progress.status(f"simulating {label}: {done // beats} of {frames} frames"),
        )
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
        if result.violations or result.extra_beats[OUTPUT]:
            raise UserError(f"the accelerator's output breaks the stream protocol: {result.violations or 'extra beats'}")
        traces = {}
        if trace:
            traces = {e.tensor: unpack(result.taps[n], e.stream) for n, e in zip(names, design.edges)}
        return RtlRun(
            logits=unpack(result.outputs[OUTPUT], design.output).reshape(frames, -1),
            latency_cycles=result.latency(),
            intervals=result.intervals(OUTPUT, beats),
            cycles=result.cycles,
            traces=traces,
            max_fill={e.name: result.edges[n].max_fill for n, e in zip(names, design.edges)},
        )
