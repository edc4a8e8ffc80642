"""The timing of whole designs by kind of node: every node at the fold of its plan, from the summaries of builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finn_vitprune.bench.bars import misses
from finn_vitprune.errors import UserError
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable
from finn_vitprune.synth.timed import NodeTiming


@dataclass(frozen=True)
class KindTiming:
    """The nodes of a kind: how many, their LUTs and flip-flops together, and the worst of each measure.

    Attributes:
        ram_levels, bare: None where the summary does not say.
        missing: nodes that miss a bar. misses: the bars that any of them misses.
        slowest: the node whose slowest path takes longest, and that path.
    """

    nodes: int
    LUT: int
    FF: int
    taken: float
    high: float
    levels: int
    loads: int
    ram_levels: int | None
    bare: int | None
    missing: int
    misses: tuple[str, ...]
    slowest: str


Designs = dict[str, dict[str, KindTiming]]
"""Kinds of nodes of designs, by the name of the design and of the kind."""


def kinds(place: Path) -> tuple[str, dict[str, KindTiming]]:
    """The name of a design, and its kinds of nodes, from a build folder or a summary that was kept.

    Raises:
        UserError: no such summary, or the build had no synthesis.
    """
    summary = Summary.load(place)
    if summary.timing is None or summary.resources is None:
        raise UserError(f"{place} says nothing of timing: build without `--synth none`")
    found: dict[str, list[NodeTiming]] = {}
    for node in summary.timing.per_node:
        found.setdefault(node.op_type.removesuffix("_rtl"), []).append(node)
    used = {row.node: row for row in summary.resources.per_node}
    name = place.stem.removesuffix("_summary") if place.is_file() else place.name
    return name, {kind: _kind(nodes, used) for kind, nodes in sorted(found.items())}


def _kind(nodes: list[NodeTiming], used: Mapping) -> KindTiming:
    missed = [misses(n.taken, n.high, n.levels, n.loads, n.ram_levels, n.bare_multipliers) for n in nodes]
    worst = max(nodes, key=lambda n: n.taken)
    known = all(n.ram_levels is not None for n in nodes)
    return KindTiming(
        len(nodes), sum(used[n.node].LUT for n in nodes), sum(used[n.node].FF or 0 for n in nodes),
        worst.taken, max(n.high for n in nodes), max(n.levels for n in nodes), max(n.loads for n in nodes),
        max(n.ram_levels for n in nodes) if known else None, max(n.bare_multipliers for n in nodes) if known else None,
        sum(bool(m) for m in missed), tuple(dict.fromkeys(name for m in missed for name in m)),
        f"{worst.node}: {worst.start} to {worst.end}",
    )  # fmt: skip


def design_table(name: str, design: Mapping[str, KindTiming], before: Mapping[str, KindTiming]) -> TextTable:
    """A row for each kind of node, beside what it was before where that is known."""
    was = ("was: LUT", "FF", "taken", "high", "levels", "loads", "missing") if before else ()
    rows = []
    for kind, k in design.items():
        old = before.get(kind)
        earlier = () if not before else _figures(old) if old else ("-",) * len(was)
        rows.append((
            kind, str(k.nodes), *_figures(k), _known(k.ram_levels), _known(k.bare), ", ".join(k.misses) or "-", *earlier,
            k.slowest,
        ))  # fmt: skip
    columns = ("nodes of", "number", "LUT", "FF", "taken", "high", "levels", "loads", "missing", "RAM", "bare", "misses",
               *was, "slowest")  # fmt: skip
    text = "Sums of LUTs and flip-flops, and the worst of every other measure; missing: nodes that miss a bar."
    return TextTable(f"All nodes of {name}", columns, tuple(rows), text)


def _figures(k: KindTiming) -> tuple[str, ...]:
    return (f"{k.LUT:,}", f"{k.FF:,}", f"{k.taken:.2f}", f"{k.high:.2f}", str(k.levels), f"{k.loads:,}", str(k.missing))


def _known(value: int | None) -> str:
    return "not kept" if value is None else str(value)
