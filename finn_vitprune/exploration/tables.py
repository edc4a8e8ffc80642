"""An exploration on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from finn_vitprune.exploration.ledger import ExploreRow
from finn_vitprune.report.tables import TextTable


def best_table(rows: Sequence[ExploreRow], clk_ns: float) -> TextTable:
    """What no other design beats, the fastest first."""
    rows = sorted(rows, key=lambda row: (row.part, row.found.interval_cycles))
    cells = tuple(
        (
            row.network, row.part, row.engines_text, f"{row.rate(clk_ns):,.0f}", f"{row.milliseconds(clk_ns):.3f}",
            *(f"{100 * row.found.shares[kind]:.1f}" for kind in ("LUT", "DSP", "BRAM", "URAM")), _answers(row), row.method,
        )
        for row in rows
    )  # fmt: skip
    heads = ("network", "part", "engines", "images/s", "ms", "LUT, %", "DSP, %", "BRAM, %", "URAM, %", "accuracy or cosine", "cycles by")
    return TextTable("What no other design of its part beats", heads, cells)


def _answers(row: ExploreRow) -> str:
    q = row.quality
    return "" if q is None else f"cosine {q.cosine:.4f}" if q.accuracy is None else f"{q.accuracy:.4f}"
