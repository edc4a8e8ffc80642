"""The AXI4-Lite port of a unit, as Verilog text (FINN's signal names)."""

from __future__ import annotations

AXILITE = "s_axilite"

SIGNALS = (
    ("input ", "AWVALID", 1),
    ("output", "AWREADY", 1),
    ("input ", "AWADDR", 0),
    ("input ", "WVALID", 1),
    ("output", "WREADY", 1),
    ("input ", "WDATA", 32),
    ("input ", "WSTRB", 4),
    ("output", "BVALID", 1),
    ("input ", "BREADY", 1),
    ("output", "BRESP", 2),
    ("input ", "ARVALID", 1),
    ("output", "ARREADY", 1),
    ("input ", "ARADDR", 0),
    ("output", "RVALID", 1),
    ("input ", "RREADY", 1),
    ("output", "RDATA", 32),
    ("output", "RRESP", 2),
)
"""Direction, name and bits (0: those of the address) of each signal."""


def ports(name: str, address_bits: int) -> list[str]:
    """Declarations of the port ``name``."""
    return [f"{way} wire {_range(bits or address_bits)}{name}_{signal}" for way, signal, bits in SIGNALS]


def binds(pin: str, net: str) -> list[str]:
    """Connections of an instance's port ``pin`` to the nets of ``net``."""
    return [f".{pin}_{signal}({net}_{signal})" for _, signal, _ in SIGNALS]


def _range(bits: int) -> str:
    return f"[{bits - 1}:0] " if bits > 1 else ""
