"""What the reference reports for its 14 settings of DeiT-Small.

Source of the figures: Parikh et al., FCCM 2024, arXiv 2403.14047, and the second author's artifact. Accuracy is that of trained
networks in float; times come from a cycle model of 6,144 MAC a cycle at 16 bits and 300 MHz, not from a board.
"""

from __future__ import annotations

from dataclasses import dataclass

from builds.experiments.deit_models import REFERENCE, DeitNetwork

HEADS = 72
"""Of the dense network."""
MODELLED = "modelled, 16 bit, 6,144 MAC a cycle, 300 MHz"


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
