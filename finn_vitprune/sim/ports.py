"""What a simulated top has: streams, ports through which memories are loaded, and probes of internal streams."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Port:
    """A stream of the top: ports ``<name>_tdata``, ``_tvalid``, ``_tready``; ``width`` bits of tdata."""

    name: str
    width: int

    @property
    def bytes(self) -> int:
        """Bytes of one beat."""
        return -(-self.width // 8)


class Probe(Port):
    """An internal stream of a stitched top: a name for reports and the bits of its data in ``tap_data``."""


@dataclass(frozen=True)
class BusPort:
    """An AXI4-Lite port of the top (32 bits of data): ``<name>_AWADDR`` and so on; bits of its addresses."""

    name: str
    address_bits: int

    @property
    def address_bytes(self) -> int:
        """Bytes in which Verilator keeps an address."""
        return 1 if self.address_bits <= 8 else 2 if self.address_bits <= 16 else 4


@dataclass(frozen=True)
class ChainPort:
    """Both ends of a unit's load chain: ports ``<name>_in`` and ``<name>_out``."""

    name: str = "load"


LoadPort = BusPort | ChainPort
