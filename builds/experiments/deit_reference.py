"""What the reference reports for its 14 settings of DeiT-Small, and the dense float network on the processor at hand.

Source of the figures: Parikh et al., FCCM 2024, arXiv 2403.14047, and the second author's artifact. Accuracy is that of trained
networks in float; times come from a cycle model of 6,144 MAC a cycle at 16 bits and 300 MHz, not from a board.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import timm
import torch

from finn_vitprune.builds.experiments.deit_models import DISTILLED, REFERENCE, DeitNetwork
from finn_vitprune.errors import UserError

HEADS = 72
"""Of the dense network."""
MODELLED = "modelled, 16 bit, 6,144 MAC a cycle, 300 MHz"
RUNS, WARM_UP = 50, 10
FEWEST_RUNS = 30
"""A median of fewer says little on a machine that others use, too."""


@dataclass(frozen=True)
class ReferenceRow:
    """A setting of the reference at batch 1: ImageNet top-1 in %, parameters in millions, GMAC, live heads, time.

    ``gmac`` leaves out QK^T and AV and counts zero blocks; ``heads`` are those of trained networks, of :data:`HEADS`.
    """

    network: DeitNetwork
    top1: float
    mparams: float
    gmac: float
    heads: int
    milliseconds: float
    images_per_second: float


ROWS = tuple(
    ReferenceRow(network, *figures)
    for network, figures in zip(
        REFERENCE,
        (
            (79.590, 21.975, 4.2701, 72, 3.195, 313.0),
            (76.550, 17.631, 2.9863, 71, 1.953, 511.9),
            (75.964, 17.631, 2.2082, 71, 1.553, 643.7),
            (74.124, 17.631, 1.6249, 71, 1.140, 877.1),
            (70.146, 14.395, 2.4310, 67, 1.479, 676.1),
            (68.626, 14.297, 1.7991, 66, 1.169, 855.1),
            (66.868, 14.297, 1.3245, 66, 0.868, 1151.6),
            (79.590, 21.975, 4.2701, 72, 3.553, 281.4),
            (76.404, 17.336, 2.9314, 68, 2.591, 386.0),
            (75.654, 17.336, 2.1612, 68, 2.353, 424.9),
            (73.458, 17.533, 1.6149, 70, 2.126, 470.3),
            (70.060, 13.804, 2.3193, 61, 1.999, 500.2),
            (68.620, 13.706, 1.7043, 60, 1.796, 556.7),
            (67.258, 13.804, 1.2511, 61, 1.621, 616.8),
        ),
        strict=True,
    )
)


@dataclass(frozen=True)
class CpuTiming:
    """A float network in onnxruntime at batch 1: the processor, threads, and of ``runs`` runs the median and the shortest."""

    model: str
    cpu: str
    threads: int
    onnxruntime: str
    runs: int
    median_ms: float
    minimum_ms: float

    @property
    def text(self) -> str:
        """One sentence."""
        return (
            f"dense float {self.model} in onnxruntime {self.onnxruntime} at batch 1 on {self.cpu}, {self.threads} thread{'s' * (self.threads > 1)}: "
            f"median {self.median_ms:.1f} ms of {self.runs} runs, shortest {self.minimum_ms:.1f} ms"
        )


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name and how many of its threads this machine has, as Linux tells them."""
    lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
    found = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    count = sum(key.strip() == "processor" for key, _, _ in lines)
    parts = [found.get("model name", "a processor without a name")]
    parts += [f"{key} {found[key]}" for key in ("cpu family", "model", "stepping") if key in found]
    return f"{', '.join(parts)} ({count} hardware threads)"


def time_float(model: str = DISTILLED, threads: int | None = None, runs: int = RUNS) -> CpuTiming:
    """Export timm's float network with random weights and time it in onnxruntime, warm, one image at a time.

    Args:
        threads: of onnxruntime; None: as many as the process may use.
    Raises:
        UserError: fewer than 30 runs.
    """
    if runs < FEWEST_RUNS:
        raise UserError(f"{runs} runs are too few for a median on a shared machine: use {FEWEST_RUNS} or more")
    threads = threads or len(os.sched_getaffinity(0))
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        shape = export_float(model, path)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    taken = []
    for _ in range(WARM_UP + runs):
        started = time.perf_counter()
        session.run(None, feed)
        taken.append(1e3 * (time.perf_counter() - started))
    taken = taken[WARM_UP:]
    return CpuTiming(
        model, cpu_name(), threads, ort.__version__, runs, round(statistics.median(taken), 3), round(min(taken), 3)
    )


def export_float(model: str, path: Path) -> tuple[int, int, int, int]:
    """Write timm's float network ``model`` as ONNX; returns the shape of its input."""
    torch.manual_seed(0)
    network = timm.create_model(model, pretrained=False).eval()
    for block in network.blocks:
        block.attn.fused_attn = False  # of which the exporter writes more nodes
    shape = (1, *network.pretrained_cfg["input_size"])
    torch.onnx.export(network, (torch.zeros(shape),), str(path), opset_version=17, dynamo=False, input_names=["x"])
    return shape
