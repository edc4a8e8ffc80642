"""The tables of the timing estimate of a build."""

from __future__ import annotations

from finn_vitprune.report.tables import COUNTED, ESTIMATED, TextTable
from finn_vitprune.synth.timed import DesignTiming, NodeTiming

SLOWEST = 5
"""Nodes of the short table."""
_MARKS = ("", *(ESTIMATED,) * 5, "", "", "", ESTIMATED)


def timing_tables(timing: DesignTiming | None, nodes: bool = False) -> list[TextTable]:
    """The slowest nodes, or all of them, and the streams between dies; none without an estimate."""
    if timing is None:
        return []
    rows = timing.per_node if nodes else sorted(timing.per_node, key=lambda n: -n.taken)[:SLOWEST]
    some = "" if len(rows) == len(timing.per_node) else ": the slowest nodes"
    title = f"Timing{some}"
    note = f"Before placement. In all, {timing.text}. Periods in ns by three sets of constants: docs/timing.md. {timing.reset_text}".strip()
    over = f"over {timing.clk_ns:g} ns"
    columns = ("node", "low", "taken", "high", "LUT levels", over, "from", "to", "widest net", "loads")
    tables = [TextTable(title, columns, tuple(map(_row, rows)), note, _MARKS)]
    if timing.crossings:
        tables.append(TextTable(
            "Streams between SLRs", ("node", "from SLR", "to SLR", "bits", "stages"),
            tuple((c.node, *map(str, (c.source, c.target, c.bits, c.stages))) for c in timing.crossings),
            "Their wires between SLRs are in no figure of the timing.", ("", "", "", COUNTED, COUNTED),
        ))  # fmt: skip
    return tables


def _row(n: NodeTiming) -> tuple[str, ...]:
    ns = (f"{value:.2f}" for value in (n.low, n.taken, n.high))
    return (n.node, *ns, str(n.levels), f"{n.over:,}", n.start, n.end, n.widest, f"{n.loads:,}")
