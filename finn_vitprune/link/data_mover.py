"""What moves beats between a host's memory and an accelerator, and what its parts are called in a block design."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from finn_vitprune.load_port import Registers


@dataclass(frozen=True)
class BlockDesign:
    """What an accelerator stands between, of which the host needs the names.

    Attributes:
        batch: images in a transfer; the block design ends the output with TLAST after so many.
        core: name of the accelerator, for its load port; by default ``finn_design_0`` with PYNQ, ``finn_design`` with XRT.
        dma: name of the AXI DMA, with PYNQ.
        send, receive: kernels of FINN's data movers, with XRT. device: number of the card, with XRT.
    """

    batch: int = 1
    core: str | None = None
    dma: str = "axi_dma_0"
    send: str = "idma0"
    receive: str = "odma0"
    device: int = 0


class DataMover(Protocol):
    """Beats to an accelerator and back. name: for messages. registers: of the load port; None without one."""

    name: str
    registers: Registers | None

    def move(self, beats: np.ndarray, shape: tuple[int, int], timeout_s: float) -> np.ndarray:
        """Send the beats of the images of a transfer, uint8 ``[beats, bytes]``, and wait for their logits, uint8 of ``shape``.

        Raises:
            RuntimeError, OSError: they do not come within ``timeout_s``, or not as many.
        """

    def restart(self) -> None:
        """Bring the accelerator back to where it was after power-up.

        Raises:
            RuntimeError: that is not possible from here; the text says what would help.
        """

    def close(self) -> None:
        """Nothing is moved any more."""
