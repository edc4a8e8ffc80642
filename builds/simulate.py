"""``finn-vitprune simulate``: arrays through the RTL of a finished build."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

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
    import finn_vitprune.custom_ops  # noqa: F401  (FINN's settings and op registry)
    from qonnx.core.modelwrapper import ModelWrapper

    from finn_vitprune.builds.accelerator import Accelerator
    from finn_vitprune.builds.images import check_pixels, to_patches
    from finn_vitprune.builds.stitch import StitchedDesign

    build_dir = Path(build_dir)
    design_dir = build_dir / "stitched_ip"
    parent_file = build_dir / "intermediate_models" / "dataflow_parent.onnx"
    cycles_file = build_dir / "report" / "estimate_layer_cycles.json"
    for path in (design_dir / "design.json", parent_file, cycles_file):
        if not path.is_file():
            raise UserError(f"{build_dir} holds no finished build ({path.relative_to(build_dir)} is missing): run `finn-vitprune build` first")
    parent = ModelWrapper(str(parent_file))
    pixels = check_pixels(np.asarray(pixels), parent.get_tensor_shape(parent.graph.input[0].name), "the input")
    design = StitchedDesign.load(design_dir.resolve())
    slowest = max(json.loads(cycles_file.read_text()).values())
    accelerator = Accelerator(design, slowest)
    return accelerator.run(to_patches(parent, pixels)).logits.astype(np.int32)
