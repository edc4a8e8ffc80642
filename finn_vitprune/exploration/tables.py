"""An exploration on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from finn_vitprune.exploration.ledger import Explored, ExploreRow
from finn_vitprune.exploration.page import answers_text
from finn_vitprune.report.quantities import accuracy_text, clock_text, ms_text, rate_text, share_text
from finn_vitprune.report.tables import ESTIMATED, MEASURED, TextTable
from finn_vitprune.report.verdict import Verdict, VerdictLine
from finn_vitprune.synth.parts import get_part


def best_table(rows: Sequence[ExploreRow], clk_ns: float) -> TextTable:
    """What no other design beats, the fastest first."""
    rows = sorted(rows, key=lambda row: (row.part, row.found.interval_cycles))
    cells = tuple(
        (
            row.network,
            row.part,
            row.engines_text,
            rate_text(row.rate(clk_ns)),
            ms_text(row.milliseconds(clk_ns)),
            *(share_text(row.found.shares[kind]) for kind in ("LUT", "DSP", "BRAM", "URAM")),
            answers_text(row),
            row.method,
        )
        for row in rows
    )
    heads = ("network", "part", "engines", "images/s", "latency", "LUT", "DSP", "BRAM", "URAM", "accuracy or cosine", "cycles by")
    return TextTable("What no other design of its part beats", heads, cells)


def explored_verdict(found: Explored, folder: Path, page: Path) -> Verdict:
    """The best designs: the fastest, the one of the shortest latency, the fastest on the smallest of several parts, the most accurate."""
    clk_ns, fitting = found.settings.target.clk_ns, [row for row in found.rows if row.fits]
    sources, parts = (sorted({getattr(row, name) for row in found.rows}) for name in ("source", "part"))
    built = sum(row.built is not None for row in found.rows)
    lines = [
        VerdictLine(
            "designs",
            f"{len(found.rows):,}, {len(fitting):,} fit{'s' * (len(fitting) == 1)}",
            "",
            f"{built:,} built and simulated, at {clock_text(clk_ns)}",
        )
    ]
    if fitting:
        fast, short = (min(fitting, key=lambda row: row.found.interval_cycles), min(fitting, key=lambda row: row.found.latency_cycles))
        lines.append(VerdictLine("fastest", f"{rate_text(fast.rate(clk_ns))} images/s", _found(fast), fast.name))
        lines.append(VerdictLine("soonest", ms_text(short.milliseconds(clk_ns)), _found(short), short.name))
        if len(parts) > 1:
            least = min(fitting, key=lambda row: (get_part(row.part).LUT, -row.rate(clk_ns)))
            lines.append(VerdictLine("smallest", get_part(least.part).name, _found(least), least.name))
    if known := [row for row in fitting if row.quality is not None and row.quality.accuracy is not None]:
        best = max(known, key=lambda row: (row.quality.accuracy, -row.found.interval_cycles))
        lines.append(VerdictLine("accuracy", accuracy_text(best.quality.accuracy), MEASURED, best.name))
    following = "the same command with --build best:1" if fitting and not built else ""
    of, count = f"of {', '.join(sources)} on {', '.join(parts)}", len(found.rows)
    title = f"{count:,} design{'s' * (count != 1)} {of}" if count else "no designs"
    return Verdict(title, str(folder), tuple(_warnings(found, fitting)), tuple(lines), str(page), following)


def _warnings(found: Explored, fitting: Sequence[ExploreRow]) -> Iterator[str]:
    """What is wrong, then what is only an estimate."""
    if wrong := [row.name for row in found.rows if row.built and row.built.mismatches]:
        yield f"The RTL differs from the hardware graph: {', '.join(wrong)}."
    if found.rows and not fitting:
        yield "No design fits its part."
    if failed := [row for row in found.rows if row.reason]:
        yield f"{len(failed):,} of {len(found.rows):,} designs failed, --retry tries them again; the first: {failed[0].reason}"
    if not any(row.built for row in found.rows):
        yield "Only plans: cycles by formula, resources by estimate; nothing was simulated."
    if found.settings.data is None and any(row.import_command for row in found.rows):
        yield "Networks were made with noise: their accuracy is not known."


def _found(row: ExploreRow) -> str:
    return MEASURED if row.built else ESTIMATED
