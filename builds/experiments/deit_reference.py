"""What the reference reports for its 14 settings of DeiT-Small, and the dense float network on a processor.

Source of the figures: Parikh et al., FCCM 2024, arXiv 2403.14047, and the second author's artifact. Accuracy is that of trained
networks in float; times come from a cycle model of 6,144 MAC a cycle at 16 bits and 300 MHz, not from a board.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from builds.experiments.deit_models import REFERENCE, DeitNetwork

HEADS = 72
"""Of the dense network."""
MODELLED = "modelled, 16 bit, 6,144 MAC a cycle, 300 MHz"
CPU = Path(__file__).parents[1] / "results" / "deit" / "cpu.json"
"""The dense float network in onnxruntime on a processor; measured at commit aa9e061 by a script that is there up to c7011e1."""


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
            f"dense float {self.model} in onnxruntime {self.onnxruntime} at batch 1 on {self.cpu}, {self.threads} "
            f"thread{'s' * (self.threads > 1)}: median {self.median_ms:.1f} ms of {self.runs} runs, shortest {self.minimum_ms:.1f} ms"
        )


def cpu_timing() -> CpuTiming:
    """What was measured."""
    return CpuTiming(**json.loads(CPU.read_text()))
