"""An accelerator with an AXI DMA at both streams, driven with PYNQ.

This file needs nothing but Python 3.8 or later, NumPy and PYNQ, so that an exported design has a copy of it. What it calls is what PYNQ's
``Overlay``, ``MMIO``, ``allocate`` and ``lib/dma.py`` have, in versions whose channels count what was ``transferred``. It was not run on a
board.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np


class PynqBoard:
    """A bitstream with an AXI DMA. What ends the output of the accelerator with TLAST is in the block design.

    ``registers`` is the window on the load port, of which ``register_bytes`` are read and written; None without ``core``.
    """

    def __init__(self, bitstream: str | Path, dma: str = "axi_dma_0", core: str | None = None, register_bytes: int = 32) -> None:
        """Load the bitstream into the chip.

        Args:
            bitstream: a ``.bit`` file, with its ``.hwh`` beside it. dma, core: names of the AXI DMA and of the accelerator's load port.
        Raises:
            RuntimeError: it has nothing of that name.
        """
        from pynq import MMIO, Overlay

        self.name = str(bitstream)
        self._overlay = Overlay(self.name)
        for name in (dma, core):
            if name is not None and name not in self._overlay.ip_dict:
                raise RuntimeError(f"{bitstream} has no {name}, it has {', '.join(self._overlay.ip_dict) or 'nothing'}")
        self._dma = getattr(self._overlay, dma)
        self.registers = None if core is None else MMIO(self._overlay.ip_dict[core]["phys_addr"], register_bytes)
        self._buffers: dict[tuple[str, tuple[int, ...]], Any] = {}

    def move(self, beats: np.ndarray, shape: tuple[int, int], timeout_s: float = 10.0) -> np.ndarray:
        """Send beats, uint8 ``[beats, bytes]``, and wait for the answer, uint8 of ``shape``.

        Raises:
            TimeoutError: it does not come within ``timeout_s``: call :meth:`restart` before the next transfer.
            RuntimeError: the DMA reports an error, or TLAST came too early.
        """
        sent, received = self._buffer("sent", beats.shape), self._buffer("received", shape)
        sent[:] = beats
        self._dma.recvchannel.transfer(received)
        self._dma.sendchannel.transfer(sent)
        end = time.monotonic() + timeout_s
        self._wait(self._dma.sendchannel, end, "the accelerator takes no more beats")
        self._wait(self._dma.recvchannel, end, "no logits came, or no TLAST behind them")
        if self._dma.recvchannel.transferred != received.nbytes:
            raise RuntimeError(f"{self._dma.recvchannel.transferred} of {received.nbytes} bytes came before TLAST")
        return np.array(received)

    def restart(self) -> None:
        """Load the bitstream again, which resets the accelerator and the DMA. A design with a load port is empty then."""
        self._overlay.download()
        for channel in (self._dma.recvchannel, self._dma.sendchannel):
            channel.start()

    def close(self) -> None:
        """Give the memory of the transfers back."""
        for buffer in self._buffers.values():
            buffer.freebuffer()
        self._buffers.clear()

    def _buffer(self, use: str, shape: tuple[int, ...]) -> Any:
        """Memory that the DMA reaches, for all transfers of this shape."""
        from pynq import allocate

        if (use, shape) not in self._buffers:
            self._buffers[use, shape] = allocate(shape, np.uint8)
        return self._buffers[use, shape]

    def _wait(self, channel: Any, end: float, what: str) -> None:
        """PYNQ's own wait has no limit: it comes once the channel is done, and says what went wrong."""
        while channel.running and not channel.idle:
            if time.monotonic() > end:
                raise TimeoutError(what)
            time.sleep(0)
        channel.wait()
