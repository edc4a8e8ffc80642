"""How far the imported float network is from the file itself in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from finn_vitprune.ingest.check.file_run import file_input, run_file
from finn_vitprune.importing.float_model import as_in_file
from finn_vitprune.ingest.onnx_file.model_file import Kind
from finn_vitprune.ingest.recognise.recognised import RecognisedViT
from finn_vitprune.models.vit import PrunedViT

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Comparison:
    """The imported float network against the file in onnxruntime.

    images: how many were compared; largest: the largest difference of an output; scale: the largest output
    of the file.
    """

    images: int
    largest: float
    scale: float

    @property
    def relative(self) -> float:
        """The largest difference in units of the largest output."""
        return self.largest / self.scale if self.scale else self.largest


def compare(
    path: Path,
    kind: Kind,
    vit: RecognisedViT,
    network: PrunedViT,
    images: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
) -> Comparison:
    """Run file and network on uint8 ``images`` ``[F, H, W, C]``; QDQ files without activation quantisers.

    Args:
        network: from :func:`finn_vitprune.importing.float_model.float_network`, at ``mean`` and ``std``.
    Raises:
        UserError: onnxruntime cannot run the file.
    """
    inputs = file_input(vit, images, mean, std)
    theirs = run_file(path, kind, vit, inputs, torch.get_num_threads())
    device = network.pos_embed.device
    ours = as_in_file(network, vit, torch.from_numpy(images).float().to(device)).cpu()
    if vit.probabilities:
        ours = ours.softmax(-1)
    largest = float(np.abs(ours.numpy() - theirs).max())
    return Comparison(len(images), largest, float(np.abs(theirs).max()))
