"""The page of an exploration: rate against latency, every design with its figures and the commands that make it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from pathlib import Path

from finn_vitprune.exploration.ledger import Explored, ExploreRow, pareto
from finn_vitprune.report.html import rendered

TEMPLATE = Path(__file__).with_name("explore.html.j2")
COLOURS = 8
"""That the page has for parts."""
SHAPES = ("circle", "square", "triangle", "diamond", "down", "plus")
"""For numbers of engines."""
WIDTH, HEIGHT, LEFT, BOTTOM, EDGE = 720, 420, 64, 44, 16
"""Of the plot, in its own units, and what axes and edges take."""


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic axis from ``start`` to ``end`` (places on the page) for values from ``low`` to ``high``."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> LogAxis:
        """With a twentieth of its length free on both sides."""
        low, high = log10(min(values)), log10(max(values))
        free = max(0.05 * (high - low), 0.05)
        return cls(10 ** (low - free), 10 ** (high + free), start, end)

    def at(self, value: float) -> float:
        """Where a value is."""
        share = log10(value / self.low) / log10(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and labels of 1, 2 and 5 times powers of ten, or of more where these are fewer than three."""
        powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(i / 20 for i in range(20, 200))):
            found = [step * 10.0**power for power in powers for step in steps]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) >= 3:
                break
        return [(self.at(value), _number(value)) for value in found]


@dataclass(frozen=True)
class Mark:
    """A design on the plot: its place, look and text; ``best`` ones are filled."""

    x: float
    y: float
    shape: str
    colour: int
    best: bool
    row: str
    text: str


@dataclass(frozen=True)
class Plot:
    """Rate against latency."""

    x: LogAxis
    y: LogAxis
    marks: tuple[Mark, ...]
    colours: dict[str, int]
    shapes: dict[str, str]
    width: int = WIDTH
    height: int = HEIGHT


def to_page(found: Explored, command: str = "") -> str:
    """The page; ``command``: what the user typed."""
    rows = sorted((row for row in found.rows if row.found), key=lambda row: (not row.fits, row.found.interval_cycles))
    best = {row.name for row in pareto(rows)}
    clk_ns = found.settings.target.clk_ns
    return rendered(
        TEMPLATE, title=f"{len(found.rows)} design{'s' * (len(found.rows) != 1)} of {_words({row.source for row in found.rows})}", command=command,
        settings=found.settings, rows=rows, best=best, clk_ns=clk_ns, plot=_plot(rows, best, clk_ns),
        failed=[row for row in found.rows if row.reason], waiting=sum(not row.found and not row.reason for row in found.rows),
        imported=any(row.import_command for row in found.rows), percent=lambda share: f"{100 * share:.1f}",
        known={kind: any(row.quality and getattr(row.quality, kind) is not None for row in rows) for kind in ("accuracy", "cosine")},
    )  # fmt: skip


def _number(value: float) -> str:
    """Without zeros at its end."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _words(names: Iterable[str]) -> str:
    names = sorted(names)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else "nothing"


def _plot(rows: Sequence[ExploreRow], best: set[str], clk_ns: float) -> Plot | None:
    """Of the designs that fit; None where there are none."""
    rows = [row for row in rows if row.fits]
    if not rows:
        return None
    x = LogAxis.over([row.milliseconds(clk_ns) for row in rows], LEFT, WIDTH - EDGE)
    y = LogAxis.over([row.rate(clk_ns) for row in rows], HEIGHT - BOTTOM, EDGE)
    colours = {part: i % COLOURS for i, part in enumerate(dict.fromkeys(row.part for row in rows))}
    kinds = sorted({row.engines for row in rows}, key=lambda engines: engines or 0)
    shapes = {_kind(engines): SHAPES[i % len(SHAPES)] for i, engines in enumerate(kinds)}
    marks = tuple(
        Mark(
            x.at(row.milliseconds(clk_ns)), y.at(row.rate(clk_ns)), shapes[_kind(row.engines)], colours[row.part], row.name in best, row.name,
            f"{row.network} on {row.part}, {row.engines_text}: {row.rate(clk_ns):,.0f} images/s, {row.milliseconds(clk_ns):.3f} ms",
        )
        for row in rows
    )  # fmt: skip
    return Plot(x, y, marks, colours, shapes)


def _kind(engines: int | None) -> str:
    return "pipeline" if engines is None else f"{engines} engine{'s' * (engines > 1)}"
