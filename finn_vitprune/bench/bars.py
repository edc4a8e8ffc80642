"""What every unit should keep to, by the timing estimate (``docs/timing.md``)."""

TAKEN_NS, HIGH_NS = 2.7, 3.333
"""ns of the slowest path by the taken and by the high constants."""
LEVELS = 5
"""LUTs in a row."""
LOADS = 1024
"""Loads of a net."""
RAM_LEVELS = 1
"""LUTs in a row after a block RAM or UltraRAM."""
TEXT = (
    f"{TAKEN_NS} ns (taken), {HIGH_NS} ns (high), {LEVELS} levels, {LOADS:,} loads, {RAM_LEVELS} LUT after a memory, "
    "no bare multiplier"
)


def misses(taken: float, high: float, levels: int, loads: int, ram_levels: int | None, bare: int | None) -> list[str]:
    """The bars that are missed, by name; None: not known, not counted."""
    found = {
        "taken": taken > TAKEN_NS, "high": high > HIGH_NS, "levels": levels > LEVELS, "loads": loads > LOADS,
        "RAM": (ram_levels or 0) > RAM_LEVELS, "bare": (bare or 0) > 0,
    }  # fmt: skip
    return [name for name, missed in found.items() if missed]
