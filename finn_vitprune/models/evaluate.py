"""Runs networks: logits of many images, and hooks for one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

EVAL_BATCH = 180


@torch.no_grad()
def logits_of(forward: Callable[[Tensor], Tensor], images: np.ndarray) -> np.ndarray:
    """Logits ``[F, classes]`` of ``forward`` on uint8 images ``[F, H, W, C]``."""
    batches = range(0, len(images), EVAL_BATCH)
    return torch.cat([forward(torch.from_numpy(images[i : i + EVAL_BATCH]).float()) for i in batches]).numpy()


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks, which are registered one by one, at the end of the block."""
    with ExitStack() as stack:
        for handle in handles:
            stack.enter_context(handle)
        yield
