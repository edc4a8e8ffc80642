"""One training run over one or several processes, as Hugging Face accelerate launches them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor

from finn_vitprune.errors import UserError

LAUNCHED = "LOCAL_RANK"
"""What a launcher sets in the environment of each of its processes."""


THREADS = "OMP_NUM_THREADS"
"""So many threads compute in a process, whatever is configured; launchers set it."""

Precision = Literal["float32", "bfloat16", "auto"]

ROWS_OF, COLUMNS_OF, PRODUCTS = (3152, 192), (192, 768), 5
"""A matrix product that is timed, so many times: tokens of 16 images, and the first matrix of an MLP of DeiT-Tiny."""
WELL_BELOW = 0.75
"""The share of the time in float32 from which on bfloat16 pays for its casts."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def threads(configured: int | Literal["all"], processes: int = 1) -> int:
    """How many threads compute in each of ``processes`` on this machine."""
    return max(1, cores() // processes) if configured == "all" else configured


class Products:
    """Matrix products of training in a precision: ``products(model, images)`` is ``model(images)`` in float32.

    In bfloat16 products take factors of 8 significant bits and sum in float32; everything else, quantisers among it, stays
    float32, and so do measuring and export. ``auto``: bfloat16 where :func:`bfloat16_is_faster`.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self.device = device
        self.bfloat16 = precision == "bfloat16" or (precision == "auto" and bfloat16_is_faster(device))

    def __call__(self, model: Callable[..., Tensor], *inputs: object) -> Tensor:
        if not self.bfloat16:
            return model(*inputs)
        with torch.autocast(self.device.type, torch.bfloat16):
            return model(*inputs).float()


def bfloat16_is_faster(device: torch.device) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than of float32.

    GPUs and processors with matrix units for it (AMX) do. Of processors with vector instructions for it (AVX-512) some do and some do
    not (docs/training.md): there a product is timed.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities().get
    return bool(has("amx_bf16")) or (bool(has("avx512_bf16")) and _time_ratio() < WELL_BELOW)


def _time_ratio() -> float:
    """Time a matrix product of DeiT-Tiny in both types, in turns; the shortest time in bfloat16 over the shortest in float32."""
    factors = {kind: (torch.ones(*ROWS_OF, dtype=kind), torch.ones(*COLUMNS_OF, dtype=kind)) for kind in (torch.float32, torch.bfloat16)}
    times = dict.fromkeys(factors, math.inf)
    for _ in range(PRODUCTS):
        for kind, (a, b) in factors.items():
            started = time.perf_counter()
            torch.matmul(a, b)
            times[kind] = min(times[kind], time.perf_counter() - started)
    return times[torch.bfloat16] / times[torch.float32]


def own_device() -> torch.device:
    """Where a process computes that no launcher started: on a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Processes:
    """The processes of a run. Each works on every ``count``-th image of a batch; sums are over all of them.

    Gradients are summed, not averaged: a loss is divided by the images of the whole batch, so that any
    number of processes takes the step that one would take.
    """

    def __init__(self) -> None:
        """
        Raises:
            UserError: a launcher started this process, and accelerate is not installed.
        """
        if LAUNCHED not in os.environ:
            self.rank, self.count = 0, 1
            self.device = own_device()
            return
        try:
            from accelerate import Accelerator
        except ImportError:
            raise UserError("training in several processes needs accelerate: pip install 'finn-vitprune[train]'") from None
        self._accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.rank = self._accelerator.process_index
        self.count = self._accelerator.num_processes
        self.device = self._accelerator.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and draws."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over all processes."""
        return value if self.count == 1 else self._accelerator.reduce(value, "sum")

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over all processes, in one exchange."""
        if self.count == 1:
            return
        parameters = list(parameters)
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        flat = self._accelerator.reduce(flat, "sum")
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters])):
            p.grad = part.view_as(p)

    def from_main(self, value: object) -> object:
        """What the main process holds (also a barrier)."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def close(self) -> None:
        """End the exchange once every process is here; without it processes may abort each other."""
        if self.count > 1:
            self._accelerator.wait_for_everyone()
            self._accelerator.end_training()
