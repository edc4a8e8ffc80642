"""A design that is loaded again and again while frames flow: which frames came out as the network that was there when they entered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.images import to_patches
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.stitched.accelerator import INPUT, OUTPUT, in_one_piece
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.execute import golden
from finn_vitprune.sim import Stimulus, bus
from finn_vitprune.sim.beats import pack, unpack
from finn_vitprune.sim.contents import Contents

FRAMES = 2
"""Frames that enter between two loads, about."""


@dataclass(frozen=True)
class Reloads:
    """What became of the frames: how many came out as of each load, in order, and the numbers of those that are of no load, or came
    after one of a later load.
    """

    frames: tuple[int, ...]
    mismatches: tuple[int, ...]


def of_loads(found: np.ndarray, wanted: Sequence[np.ndarray]) -> Reloads:
    """Tell the frames of each load apart.

    Args:
        found: ``[frames, ...]``, as they came out.
        wanted: for each load, in order, what the frames must be while it is there, of the same shape.
    """
    load, counts, wrong = 0, [0] * len(wanted), []
    for k in range(len(found)):
        now = next((i for i in range(load, len(wanted)) if np.array_equal(found[k], wanted[i][k])), None)
        if now is None:
            wrong.append(k)
        else:
            load = now
            counts[now] += 1
    missing = range(len(found), len(wanted[0]))
    return Reloads(tuple(counts), (*wrong, *missing))


def golden_logits(hardware: ModelWrapper, images: np.ndarray) -> np.ndarray:
    """``[images, classes]`` of a lowered graph, by the golden models of its ops."""
    (source,), (sink,) = hardware.graph.input, hardware.graph.output
    return golden.run(hardware, {source.name: images})[sink.name].reshape(len(images), -1)


def reload(
    build_dir: Path, contents: Sequence[Path], images: np.ndarray, logits: Sequence[np.ndarray], stimulus: Stimulus = Stimulus()
) -> Reloads:
    """Load the design in ``build_dir`` with the first network, the second, ..., and the first again, images flowing all the time.

    A load begins when some frames of the load before have begun; they leave first, and the others wait for the load.

    Args:
        contents: of the networks, as files of :meth:`.Contents.write`.
        images: uint8 ``[F, H, W, C]``; one that has the same logits in two networks tells nothing.
        logits: ``[F, classes]`` of these images in each network.
        stimulus: pauses and stalls.

    Raises:
        AssertionError: a standstill, beats too many, a breach of the stream or bus protocol, or too few images.
    """
    design = StitchedDesign.load(BuildFolder(build_dir.resolve()).stitched)
    simulated = in_one_piece(design)
    order = [*range(len(contents)), 0]
    words = [Contents.other(file, design.folder).words for file in contents]
    pace = design.silent_cycles  # about the interval of frames
    (port,) = design.loads
    steps = [bus.load(words[order[0]])]
    for network in order[1:]:
        steps += [bus.wait(FRAMES * pace), bus.load(words[network])]
    result = simulated.simulator.run(
        {INPUT: pack(to_patches(design.host(), images), design.input)}, {OUTPUT: len(images) * design.output.beats},
        data_dir=design.folder, stimulus=replace(stimulus, load_first=False), idle_limit=20 * pace + 1000, loads={port.port: np.concatenate(steps)},
    )  # fmt: skip
    assert result.deadlock is None, result.deadlock
    assert not result.violations and not result.extra_beats[OUTPUT], (result.violations, result.extra_beats)
    assert result.loads[port.port].done == result.loads[port.port].total, "the frames ended before the last load: give more images"
    found = unpack(result.outputs[OUTPUT], design.output).reshape(len(images), -1)
    return of_loads(found, [logits[network] for network in order])
