"""Logits of many images, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

EVAL_BATCH = 180


@torch.no_grad()
def logits_of(forward: Callable[[Tensor], Tensor], images: np.ndarray) -> np.ndarray:
    """Logits ``[F, classes]`` of ``forward`` on uint8 images ``[F, H, W, C]``."""
    batches = range(0, len(images), EVAL_BATCH)
    return torch.cat([forward(torch.from_numpy(images[i : i + EVAL_BATCH]).float()) for i in batches]).numpy()
