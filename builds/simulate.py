"""``finn-vitprune simulate``: arrays through the RTL of a finished build."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.stitched.accelerator import RtlAccelerator, RtlRun, in_one_piece
from finn_vitprune.builds.stitched.host_side import HostSide
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.builds.stitched.units import DesignUnits, simulated_by_units
from finn_vitprune.options.build import Simulation
from finn_vitprune.sim.contents import Contents
from finn_vitprune.sim.loads import loads


def simulate(build_dir: Path, pixels: np.ndarray, contents: Path | None = None, simulation: Simulation = "auto") -> np.ndarray:
    """Logits of ``pixels`` from the accelerator in ``build_dir``, int32 ``[F, classes]``; the rest is as of :func:`simulated_run`.

    Their scale is ``model.logit_scale`` of the summary, or came with the contents.
    """
    return simulated_run(build_dir, pixels, contents, simulation).logits.astype(np.int32)


def simulated_run(build_dir: Path, pixels: np.ndarray, contents: Path | None = None, simulation: Simulation = "auto") -> RtlRun:
    """``pixels``, back to back, through the accelerator in ``build_dir``.

    Args:
        pixels: uint8 ``[F, H, W, C]`` (``[F, H, W]`` for grey images).
        contents: loaded in place of the design's own, a file of :meth:`.Contents.write`.
        simulation: in one piece, unit by unit, or as the design's size says.
    Raises:
        UserError: no finished build in the folder, one of its files is not as the build wrote it, or images of
            another shape or type.
    """
    design = StitchedDesign.load(BuildFolder(Path(build_dir).resolve()).stitched)
    patches = HostSide.of(design).patches(pixels)
    loaded = None if contents is None else Contents.other(contents, design.folder)
    if not simulated_by_units(design, simulation):
        simulated = in_one_piece(design)
        simulated = simulated if loaded is None else replace(simulated, loads=loads(loaded))
        return RtlAccelerator(design, simulated).run(patches)
    with DesignUnits(design, loaded) as units:
        units.compile(os.cpu_count() or 1)
        return RtlAccelerator(design, units.simulated()).run(patches)
