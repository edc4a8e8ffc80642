"""Figures as text: one rounding of a rate, a time, a clock and a share, wherever they are shown."""

from __future__ import annotations

from math import floor, log10

DIGITS = 3
"""Digits of a time, and of a rate below 100 images/s."""


def images_per_second(interval_cycles: float, clk_ns: float) -> float:
    """The rate of a design that takes an image every ``interval_cycles`` of a clock of ``clk_ns``."""
    return 1e9 / (clk_ns * interval_cycles)


def milliseconds(cycles: float, clk_ns: float) -> float:
    """How long ``cycles`` of a clock of ``clk_ns`` take."""
    return cycles * clk_ns * 1e-6


def rate_text(rate: float) -> str:
    """Images/s, rounded down, so that the design reaches what is shown: 7,847 of 7,847.93, 12.3 of 12.38."""
    if rate <= 0:
        return "0"
    unit = 1.0 if rate >= 100 else 10.0 ** (floor(log10(rate)) - DIGITS + 1)
    value = floor(rate / unit + 1e-9) * unit
    return f"{value:,.0f}" if unit >= 1 else f"{value:.{round(-log10(unit))}f}"


def ms_text(ms: float) -> str:
    """Milliseconds in three digits: 2.51 ms, 0.0838 ms, 1,254 ms."""
    if ms <= 0:
        return "0 ms"
    decimals = max(0, DIGITS - 1 - floor(log10(ms)))
    return f"{ms:,.{decimals}f} ms"


def clock_text(clk_ns: float) -> str:
    """A clock by its frequency and the period that was chosen: 300 MHz (3.333 ns)."""
    return f"{1e3 / clk_ns:,.4g} MHz ({clk_ns:g} ns)"


def share_text(share: float) -> str:
    """A share in percent, whole if that is true enough: never 0 % of something, never 100 % of less than all."""
    if 0 < share < 0.01:
        return "<1 %"
    if 0.995 <= share < 1:
        return f"{floor(1e3 * share) / 10} %"
    return f"{100 * share:.0f} %"


def accuracy_text(share: float) -> str:
    """A share of right answers."""
    return f"{100 * share:.1f} %"


def count_text(value: float) -> str:
    """A large count in words: 51 million, 1.13 billion; below a million in digits."""
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,.0f}"
