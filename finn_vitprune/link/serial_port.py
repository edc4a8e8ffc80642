"""A serial port as the transport of a link (pyserial)."""

from __future__ import annotations

import time

from finn_vitprune.errors import UserError

BAUD = 3_000_000


class SerialPort:
    """A serial port: 8 bits, no parity, one stop bit."""

    def __init__(self, name: str, baud: int = BAUD) -> None:
        """Open it.

        Args:
            name: as ``/dev/ttyUSB0``, or a URL of pyserial. baud: bits a second.
        Raises:
            UserError: pyserial is missing, or the port cannot be opened.
        """
        if baud < 1:
            raise UserError(f"baud {baud}: use 1 or more, as 3000000")
        try:
            import serial
        except ModuleNotFoundError:
            raise UserError("the target serial: needs pyserial: pip install 'finn-vitprune[board]'") from None
        self.name, self.bit_s = name, 1 / baud
        self._failed = (serial.SerialException, OSError)
        try:
            self._port = serial.serial_for_url(name, baudrate=baud, timeout=0, write_timeout=30)
        except (*self._failed, ValueError) as error:
            raise UserError(f"cannot open {name} at {baud} baud: {error}") from None

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            UserError: the port is gone.
        """
        try:
            self._port.write(data)
        except self._failed as error:
            raise UserError(f"cannot write to {self.name}: {error}") from None

    def read(self, seconds: float) -> bytes:
        """What came: at least a byte, or none when so many seconds passed without one.

        Raises:
            UserError: the port is gone.
        """
        try:
            self._port.timeout = seconds
            data = self._port.read(1)
            return data + self._port.read(self._port.in_waiting) if data else data
        except self._failed as error:
            raise UserError(f"cannot read from {self.name}: {error}") from None

    def now(self) -> float:
        """Seconds, of any beginning."""
        return time.monotonic()

    def close(self) -> None:
        """Close the port."""
        self._port.close()
