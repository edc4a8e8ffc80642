"""Verifies the stitched RTL against the hardware graph on real images, in one piece, and measures its cycles."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune import progress
from finn_vitprune.builds.stitched.accelerator import RtlAccelerator
from finn_vitprune.builds.stitched.traces import compare
from finn_vitprune.execute import golden
from finn_vitprune.sim import Stimulus
from finn_vitprune.transforms.engines.engine_streams import specification

STALL_PATTERNS = ((0.3, 0.0), (0.0, 0.3), (0.4, 0.4))
"""(pause of the source, stall of the sink) of the runs with disturbed streams."""


@dataclass(frozen=True)
class UnitsAlone:
    """Nodes that ran alone, each with its own contents on ``frames`` frames, in so many distinct structures.

    ``beats`` of their outputs were compared, those of runs with pauses and stalls included. ``intervals``: cycles between
    overlapping frames of a node, by its name; None where there are fewer than three frames.
    """

    nodes: int
    structures: int
    frames: int
    beats: int
    intervals: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Verification:
    """What the simulation of the whole accelerator showed.

    ``rtl_mismatches`` counts logits of all runs, codes of the traced internal streams, and beats of nodes alone, that
    differ from the hardware graph in any bit. ``traced_streams`` are those that were compared, ``left_out`` the names of those
    that were not, ``differing`` the first places at which traced streams differ. Latency is of one frame in an empty pipeline.
    ``units`` is None where the design was simulated in one piece.
    """

    images: int
    stalled_images: int
    traced_images: int
    traced_streams: int
    rtl_mismatches: int
    class_changes: int
    saturations: int
    latency_cycles: int
    interval_cycles: float
    interval_cycles_max: int
    frames: int
    max_fill: dict[str, int]
    units: UnitsAlone | None = None
    left_out: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()


def verify(
    model: ModelWrapper, accelerator: RtlAccelerator, patches: np.ndarray, stalled: np.ndarray, traced: np.ndarray, seed: int = 0
) -> tuple[Verification, np.ndarray]:
    """Run all images back to back, some with pauses and stalls, and a few with every stream traced.

    Args:
        model: the dataflow model (hardware nodes only).
        patches: ``[F, patches, pixels per patch]`` in input order.
        stalled, traced: places of the images to run with pauses and stalls, and with every stream traced.
    Returns:
        The verification and the RTL's logits ``[F, classes]``.
    """
    flat = specification(model)
    progress.status(f"hardware graph: {len(patches)} frames")
    tensors = golden.run(flat, {model.graph.input[0].name: patches})
    expected = tensors[model.graph.output[0].name].reshape(len(patches), -1)

    full = accelerator.run(patches, label="all images back to back")
    mismatches = differing(full.logits, expected)
    alone = accelerator.run(patches[:1])
    mismatches += differing(alone.logits, expected[:1])

    for number, (pause, stall) in enumerate(STALL_PATTERNS):
        run = accelerator.run(
            patches[stalled], Stimulus(seed=seed + 1 + number, pause=pause, stall=stall), label=f"pauses {pause:g}, stalls {stall:g}"
        )
        mismatches += differing(run.logits, expected[stalled])

    shown = accelerator.run(patches[traced], traced=len(traced))
    compared = compare(accelerator.design.edges, shown, {name: values[traced] for name, values in tensors.items()}, len(traced))
    compared.report()
    mismatches += compared.codes
    changes = int(np.count_nonzero(np.argmax(full.logits, -1) != np.argmax(expected, -1)))
    # so few frames give no interval: repeat them to eight or more
    steady = full if len(patches) >= 6 else accelerator.run(np.concatenate([patches] * -(-8 // len(patches))))
    verification = Verification(
        images=len(patches),
        stalled_images=len(stalled) * len(STALL_PATTERNS),
        traced_images=len(traced),
        traced_streams=compared.streams,
        rtl_mismatches=mismatches,
        class_changes=changes,
        saturations=golden.saturations(flat, tensors),
        latency_cycles=alone.latency_cycles,
        interval_cycles=steady.interval_cycles,
        interval_cycles_max=steady.interval_cycles_max,
        frames=len(steady.intervals) + 1,
        max_fill=full.max_fill,
        left_out=compared.left_out,
        differing=compared.first,
    )
    return verification, full.logits


def differing(got: np.ndarray, expected: np.ndarray) -> int:
    """Values that differ; all where the shapes do."""
    return int(expected.size if got.shape != expected.shape else np.count_nonzero(got != expected))
