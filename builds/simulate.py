"""``finn-vitprune simulate``: arrays through the RTL of a finished build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.accelerator import Accelerator
from finn_vitprune.builds.folder import BuildFolder
from finn_vitprune.builds.images import check_pixels, input_shape, to_patches
from finn_vitprune.builds.stitch import DESIGN, StitchedDesign
from finn_vitprune.errors import UserError


def simulate(build_dir: Path, pixels: np.ndarray) -> np.ndarray:
    """Logits of ``pixels`` from the accelerator in ``build_dir``.

    Args:
        pixels: uint8 ``[F, H, W, C]`` (``[F, H, W]`` for grey images).
    Returns:
        int32 ``[F, classes]``; their scale is ``model.logit_scale`` of the summary.
    Raises:
        UserError: no finished build in the folder, or images of another shape or type.
    """
    folder = BuildFolder(Path(build_dir).resolve())
    for path in (folder.stitched / DESIGN, folder.parent, folder.layer_cycles.path):
        if not path.is_file():
            raise UserError(
                f"{build_dir} holds no finished build ({path.relative_to(folder.path)} is missing): "
                "run `finn-vitprune build` first"
            )
    parent = ModelWrapper(str(folder.parent))
    pixels = check_pixels(np.asarray(pixels), input_shape(parent), "the input")
    accelerator = Accelerator(StitchedDesign.load(folder.stitched), max(folder.layer_cycles.load().values()))
    return accelerator.run(to_patches(parent, pixels)).logits.astype(np.int32)
