"""Verifies a large design unit by unit: every node alone on whole frames, then the accelerator of all of them."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune import progress
from finn_vitprune.builds.checks.verify import UnitsAlone, Verification, differing
from finn_vitprune.builds.stitched.accelerator import RtlAccelerator
from finn_vitprune.builds.stitched.node_streams import AllNodeStreams
from finn_vitprune.builds.stitched.stitch import StitchedDesign, unit_size
from finn_vitprune.builds.stitched.traces import compare
from finn_vitprune.builds.stitched.units import DesignUnits
from finn_vitprune.custom_ops.engine.engine import flattened
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.sim import Stimulus
from finn_vitprune.sim.structures import NodeRun
from finn_vitprune.transforms.engines.engine_streams import specification
from finn_vitprune.transforms.streams.node_names import node_names

FRAMES = 12
"""Overlapping frames of the accelerator, where no other number is asked for."""
LONG_PAUSES = Stimulus(pause=0.005, stall=0.02, burst=200)
"""Of the accelerator's run with pauses and stalls: long ones, so that buffers run dry and full."""
GOLDEN_FRAMES = 4
"""Frames of which all tensors are in memory at once."""


@dataclass(frozen=True)
class SimulationSeconds:
    """Where the time of a simulation unit by unit went.

    ``compile`` and ``nodes`` are sums over all structures, several of which are compiled and run at once; ``units`` is
    how long that took together, ``accelerator`` how long the runs of the whole accelerator.
    """

    compile: float
    nodes: float
    units: float
    accelerator: float


@dataclass(frozen=True)
class _Golden:
    """Tensors of the first frames ``[frames, ...]``, logits of all ``[F, classes]``, codes at limits of their types."""

    tensors: dict[str, np.ndarray]
    logits: np.ndarray
    saturations: int


def verify_units(
    model: ModelWrapper, design: StitchedDesign, patches: np.ndarray, traced: int, workers: int, seed: int = 0
) -> tuple[Verification, np.ndarray, SimulationSeconds]:
    """Compile every structure once, run every node alone, and the accelerator of all of them.

    Nodes run with their own contents and the activations of the first frames. The accelerator runs all frames back to
    back (at least :data:`FRAMES`, repeated where they are fewer), every internal stream of the first ones compared, and
    these again with pauses and stalls. Where a frame waits for later ones in an engine, one alone shows the latency.

    Args:
        model: the dataflow model (hardware nodes only).
        patches: ``[F, patches, pixels per patch]`` in input order.
        traced: frames of nodes alone, with streams compared, and with pauses and stalls.
        workers: processes at a time.
    Returns:
        The verification, the RTL's logits ``[F, classes]``, and where the time went.
    Raises:
        UserError: a node, or the accelerator, comes to a standstill or breaks the stream protocol.
    """
    traced = min(traced, len(patches))
    expected = _golden(model, patches, traced)
    with DesignUnits(design) as units:
        started = time.monotonic()
        nodes, compile_s, nodes_s = _nodes_alone(units, model, expected, workers)
        together = time.monotonic()
        wrong, beats = (sum(count) for count in zip(*((n.mismatches, n.beats) for n in nodes)))
        progress.line(f"{len(nodes)} nodes alone, of {len(units.groups)} structures: {wrong:,} of {beats:,} beats differ")
        accelerator = RtlAccelerator(design, units.simulated())
        overlapping = np.concatenate([patches] * -(-FRAMES // len(patches)))
        with accelerator.beside(patches[:traced], replace(LONG_PAUSES, seed=seed + 1), workers, "pauses and stalls") as stalled:
            full = accelerator.run(overlapping, traced=traced, label="the accelerator")
            progress.status("simulating the accelerator with pauses and stalls")
            mismatches = differing(stalled().logits, expected.logits[:traced])
        alone = accelerator.run(patches[:1], label="an image alone") if design.batch > 1 else full
    logits = full.logits[: len(patches)]
    mismatches += wrong
    mismatches += differing(full.logits, np.concatenate([expected.logits] * (len(overlapping) // len(patches))))
    compared = compare(design.edges, full, expected.tensors, traced)
    compared.report()
    mismatches += compared.codes
    return Verification(
        images=len(patches), stalled_images=traced, traced_images=traced, traced_streams=compared.streams,
        rtl_mismatches=mismatches,
        class_changes=int(np.count_nonzero(np.argmax(logits, -1) != np.argmax(expected.logits, -1))),
        saturations=expected.saturations, latency_cycles=alone.latency_cycles, interval_cycles=full.interval_cycles,
        interval_cycles_max=full.interval_cycles_max, frames=len(overlapping), max_fill=full.max_fill,
        units=UnitsAlone(len(nodes), len(units.groups), traced, beats, {n.name: n.interval for n in nodes}),
        left_out=compared.left_out, differing=compared.first,
    ), logits, SimulationSeconds(compile_s, nodes_s, together - started, time.monotonic() - together)  # fmt: skip


def _nodes_alone(units: DesignUnits, model: ModelWrapper, expected: _Golden, workers: int) -> tuple[list[NodeRun], float, float]:
    """What the nodes did, and seconds of compiling and of running them; a node that differs is named at once."""
    units_model = flattened(model)
    layers = node_names(units_model)
    ops = {node.name: getCustomOp(node) for node in units_model.graph.node}
    streams = AllNodeStreams(model, expected.tensors)
    nodes: list[NodeRun] = []
    compile_s = nodes_s = 0.0
    for structure in units.run(workers, streams, lambda name: unit_size(ops[name])):
        compile_s, nodes_s = compile_s + structure.compile_s, nodes_s + structure.run_s
        nodes += structure.nodes
        for node in structure.nodes:
            layer = layers[node.name]
            if node.problem:
                raise UserError(f"{node.name} ({layer}) alone: {node.problem}")
            if node.mismatches:
                progress.line(f"{node.name} ({layer}) alone: {node.mismatches:,} of {node.beats:,} beats differ")
    return nodes, compile_s, nodes_s


def _golden(model: ModelWrapper, patches: np.ndarray, kept: int) -> _Golden:
    """The hardware graph on all frames; tensors of the first ``kept``, and few others at a time, are in memory."""
    flat = specification(model)
    bounds = [0, *range(kept, len(patches), GOLDEN_FRAMES), len(patches)]
    tensors: dict[str, np.ndarray] = {}
    logits, saturations = [], 0
    pace = progress.Pace(len(patches))
    for number, (start, end) in enumerate(itertools.pairwise(bounds)):
        progress.status(f"hardware graph: frame {pace.at(start)}")
        found = golden.run(flat, {model.graph.input[0].name: patches[start:end]})
        logits.append(found[model.graph.output[0].name].reshape(end - start, -1))
        saturations += golden.saturations(flat, found)
        tensors = tensors if number else found
    return _Golden(tensors, np.concatenate(logits), saturations)
