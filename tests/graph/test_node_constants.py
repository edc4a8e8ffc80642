"""What nodes make of constants."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

from finn_vitprune.graph.constants import MAX_ELEMENTS, evaluate
from finn_vitprune.graph.node import Reason
from finn_vitprune.graph.reading import read_node

X = np.random.default_rng(1).standard_normal((1, 2, 4, 4)).astype(np.float32)


def resized(sizes: list[int], mode: str) -> np.ndarray:
    proto = helper.make_node(
        "Resize",
        ["x", "", "", "sizes"],
        ["y"],
        name="n",
        mode=mode,
        coordinate_transformation_mode="pytorch_half_pixel",
        cubic_coeff_a=-0.75,
    )
    [found] = evaluate(read_node(proto, Path()), 17, [X, None, None, np.array(sizes, np.int64)])
    return found


@pytest.mark.parametrize("mode, torchs", [("cubic", "bicubic"), ("linear", "bilinear")])
def test_positions_are_resized_as_pytorch_does_it(mode, torchs):
    """Models of Hugging Face have a Resize of their positions for every size of images."""
    wanted = torch.nn.functional.interpolate(torch.from_numpy(X), size=(5, 7), mode=torchs, align_corners=False)
    assert resized([1, 2, 5, 7], mode) == pytest.approx(wanted.numpy(), rel=1e-4, abs=1e-5)


def test_a_resize_beyond_all_memory_is_refused_before_it_is_made():
    with pytest.raises(Reason, match=f"has more than {MAX_ELEMENTS:,} elements"):
        resized([1, 2, 30_000, 30_000], "cubic")
