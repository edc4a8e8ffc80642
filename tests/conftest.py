"""Builds that several tests look at, made once per test process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from vit_models import random_vit

PART = "xcu250-figd2104-2L-e"


@dataclass(frozen=True)
class Built:
    """A finished build: its folder, the model file it came from, the uint8 images it was verified with."""

    folder: Path
    model: Path
    images: np.ndarray


@pytest.fixture(scope="session")
def small_build(tmp_path_factory) -> Built:
    """A random network of two encoders (17 tokens, one drop) through the whole flow, Yosys left out."""
    from finn_vitprune.builds.build import BuildOptions, build
    from finn_vitprune.builds.settings import BuildSettings

    folder = tmp_path_factory.mktemp("small")
    model, images = random_vit(image=8, depth=2, drop_at=(1,), token_keep="0.5")
    path = folder / "model.onnx"
    model.save(str(path))
    images = np.random.default_rng(5).integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "model.npz", images=images)
    build(BuildOptions(model=path, output_dir=folder / "build", fpga_part=PART, target_fps=200_000,
                       settings=BuildSettings(synth="none")))
    return Built(folder / "build", path, images)
