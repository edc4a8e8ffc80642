"""An accelerator between FINN's data movers on a card, driven with XRT's Python binding, pyxrt.

What it calls is what XRT's ``pyxrt.cpp`` has. A data mover takes its buffer and a number of images, as in FINN's C++ driver. Registers need
a pyxrt with ``ip``, the class ``xrt::ip`` of C++, which XRT's own does not have. It was not run on a card.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from finn_vitprune.link.data_mover import BlockDesign
from finn_vitprune.load_port import Registers


class XrtRegisters:
    """The load port through an ``xrt::ip``."""

    def __init__(self, ip: Any) -> None:
        self._ip = ip

    def read(self, address: int) -> int:
        """The word at an address."""
        return self._ip.read_register(address)

    def write(self, address: int, word: int) -> None:
        """Write a word."""
        self._ip.write_register(address, word)


class XrtCard:
    """An xclbin on a card."""

    def __init__(self, xclbin: str | Path, parts: BlockDesign, load_port: bool) -> None:
        """Load it into the card.

        Args:
            load_port: whether the accelerator has one.
        Raises:
            RuntimeError: XRT refuses the file, or it has no kernel of that name; this pyxrt reaches no load port.
        """
        import pyxrt

        if load_port and not hasattr(pyxrt, "ip"):
            raise RuntimeError(
                "this pyxrt has no `ip`, without which memories of the design cannot be loaded: load them in C++ (docs/loading.md)"
            )
        self.name, self._xrt, self._batch = str(xclbin), pyxrt, parts.batch
        self._device = pyxrt.device(parts.device)
        uuid = self._device.load_xclbin(self.name)
        self._send, self._receive = (pyxrt.kernel(self._device, uuid, kernel) for kernel in (parts.send, parts.receive))
        self.registers: Registers | None = XrtRegisters(pyxrt.ip(self._device, uuid, parts.core or "finn_design")) if load_port else None

    def move(self, beats: np.ndarray, shape: tuple[int, int], timeout_s: float) -> np.ndarray:
        """Send beats, uint8 ``[beats, bytes]``, and wait for the answer, uint8 of ``shape``.

        Raises:
            RuntimeError: a data mover does not end within ``timeout_s``, or ends with an error.
        """
        bytes_in, bytes_out = beats.nbytes, shape[0] * shape[1]
        way, done = self._xrt.xclBOSyncDirection, self._xrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED
        sent = self._xrt.bo(self._device, bytes_in, self._xrt.bo.normal, self._send.group_id(0))
        received = self._xrt.bo(self._device, bytes_out, self._xrt.bo.normal, self._receive.group_id(0))
        sent.write(np.ascontiguousarray(beats), 0)
        sent.sync(way.XCL_BO_SYNC_BO_TO_DEVICE, bytes_in, 0)
        runs = {"logits": self._receive(received, self._batch), "images": self._send(sent, self._batch)}
        for what in ("images", "logits"):
            state = runs[what].wait(max(1, round(1000 * timeout_s)))  # 0 would wait for ever
            if state != done:
                raise RuntimeError(f"the data mover of the {what} did not end ({state})")
        received.sync(way.XCL_BO_SYNC_BO_FROM_DEVICE, bytes_out, 0)
        return np.frombuffer(bytes(received.read(bytes_out, 0)), np.uint8).reshape(shape)

    def restart(self) -> None:
        """XRT loads no file that is already there, so that nothing resets the accelerator.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(f"{self.name} is in the middle of a transfer: reset the card (xrt-smi reset) and open it again")

    def close(self) -> None:
        """Let go of the card."""
        self.registers = self._send = self._receive = self._device = None
