"""Pictures of an exploration: a point a design, a symbol a network, a colour a part, and the front of each part as a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, log10

from markupsafe import Markup, escape

from finn_vitprune.report.drawing import Drawing

WIDTH, HEIGHT, LEFT, BOTTOM, EDGE = 400, 290, 52, 40, 14
"""Of a picture, and what axes and edges take."""
SYMBOLS = {
    "circle": "M0-1A1 1 0 0 1 0 1A1 1 0 0 1 0-1Z",
    "square": "M-.9-.9H.9V.9H-.9Z",
    "triangle": "M0-1.2 1.1.9-1.1.9Z",
    "diamond": "M0-1.3 1.3 0 0 1.3-1.3 0Z",
    "down": "M0 1.2 1.1-.9-1.1-.9Z",
    "plus": "M-.4-1.2H.4V-.4H1.2V.4H.4V1.2H-.4V.4H-1.2V-.4H-.4Z",
    "bar": "M-1.3-.5H1.3V.5H-1.3Z",
    "post": "M-.5-1.3H.5V1.3H-.5Z",
}
"""Shapes within 1.3 of the origin."""
COLOURS = 8
LETTER, LINE = 7.1, 13
"""Pixels that a letter of a label takes at most, and a line of them."""
SIZE, REACH = 5, 8

Box = tuple[float, float, float, float]


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
        for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(i / 20 for i in range(20, 200))):
            found = [step * 10.0**power for power in powers for step in steps]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) >= 3:
                break
        return [(self.at(value), _number(value)) for value in found]


@dataclass(frozen=True)
class Axis:
    """A linear axis, of shares in percent."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> Axis:
        """With some of its length free on both sides."""
        free = max(0.08 * (max(values) - min(values)), 0.005)
        return cls(min(values) - free, max(values) + free, start, end)

    def at(self, value: float) -> float:
        """Where a value is."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Some places with round values."""
        step = next((step for step in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if (self.high - self.low) / step <= 7), 0.5)
        values = [step * i for i in range(ceil(self.low / step), floor(self.high / step) + 1)]
        return [(self.at(value), f"{100 * value:.{0 if step >= 0.01 else 1}f} %") for value in values]


@dataclass(frozen=True)
class Mark:
    """A design: what it is called (``name`` short, ``number`` in the table), its values, and its look. ``best``: no other beats it."""

    number: int
    name: str
    x: float
    y: float
    symbol: str
    colour: int
    best: bool
    text: str


@dataclass
class _Plot:
    """A picture under way: ``taken`` are boxes that no label may cover, ``lines`` what none may touch."""

    x: LogAxis | Axis
    y: LogAxis | Axis
    taken: list[Box] = field(default_factory=list)
    lines: list[Box] = field(default_factory=list)

    def place(self, mark: Mark) -> tuple[float, float]:
        return self.x.at(mark.x), self.y.at(mark.y)

    def free(self, box: Box) -> bool:
        left, top, right, bottom = box
        inside = left >= LEFT + 2 and right <= WIDTH - 2 and top >= 2 and bottom <= HEIGHT - BOTTOM - 2
        return inside and not any(_meet(box, other) for other in self.taken) and not any(_struck(box, line) for line in self.lines)


def plot(
    name: str,
    title: str,
    marks: Sequence[Mark],
    heads: tuple[str, str],
    axes: tuple[type, type],
    front: Callable[[Mark], tuple[float, float]] | None,
) -> Markup:
    """The picture.

    Args:
        name: unique on the page. heads: what is along and up. axes: classes of the axes.
        front: costs of a mark, the lower the better in both; those that none of its colour beats are joined by a line.
    """
    made = _Plot(axes[0].over([m.x for m in marks], LEFT, WIDTH - EDGE), axes[1].over([m.y for m in marks], HEIGHT - BOTTOM, EDGE))
    best = [mark for mark in marks if mark.best]
    told = "; ".join(f"{mark.number}: {mark.text}" for mark in best[:12])
    drawing = Drawing(name, title, f"{len(marks)} designs. No other beats {told}.", WIDTH)
    _axes(drawing, made, heads)
    if front is not None:
        _fronts(drawing, made, marks, front)
    made.taken += [(x - REACH, y - REACH, x + REACH, y + REACH) for x, y in map(made.place, marks)]
    for mark in sorted(marks, key=lambda mark: mark.best):
        x, y = made.place(mark)
        look = f'class="point{" best" if mark.best else ""}" style="--mark: var(--c{mark.colour})"'
        look += f' tabindex="0" data-design="{mark.number}"'
        shape = f'transform="translate({x} {y}) scale({SIZE})" vector-effect="non-scaling-stroke" d="{SYMBOLS[mark.symbol]}"'
        drawing.raw(f"<path {look} {shape}><title>{mark.number}: {escape(mark.text)}</title></path>")
    for mark in best:
        _label(drawing, made, mark)
    drawing.height = HEIGHT
    return drawing.markup()


def symbol(shape: str, colour: int | None) -> Markup:
    """A symbol for a key; without a colour, in that of the text."""
    look = "" if colour is None else f' style="--mark: var(--c{colour})"'
    filled = " best" if colour is not None else ""
    return Markup(
        f'<svg width="16" height="16" aria-hidden="true"><path class="point{filled}"{look} transform="translate(8 8) scale({SIZE})" '
        f'vector-effect="non-scaling-stroke" d="{SYMBOLS[shape]}"/></svg>'
    )


def _axes(drawing: Drawing, made: _Plot, heads: tuple[str, str]) -> None:
    base = HEIGHT - BOTTOM
    drawing.path(f"M{LEFT} {EDGE}V{base}H{WIDTH - EDGE}", "line")
    last = 0.0
    for place, text in made.x.ticks():
        if place - LETTER * len(text) / 2 > last and place + LETTER * len(text) / 2 < WIDTH:
            drawing.path(f"M{place} {base}v4", "line")
            drawing.text(place, base + 16, text, "quiet small", "middle")
            last = place + LETTER * len(text) / 2 + 4
    below = HEIGHT
    for place, text in made.y.ticks():
        if place + LINE / 2 < below - 2 and place > EDGE + 10:
            drawing.path(f"M{LEFT} {place}h-4", "line")
            drawing.text(LEFT - 7, place + 4, text, "quiet small", "end")
            below = place - LINE / 2
    drawing.text(WIDTH - EDGE, HEIGHT - 6, heads[0], "small", "end")
    drawing.text(2, 11, heads[1], "small")
    made.taken.append((0, 0, 8 + LETTER * len(heads[1]), 16))


def _fronts(drawing: Drawing, made: _Plot, marks: Sequence[Mark], costs: Callable[[Mark], tuple[float, float]]) -> None:
    """A line through the designs of each colour that none beats in both costs."""
    for colour in dict.fromkeys(mark.colour for mark in marks):
        own = [mark for mark in marks if mark.colour == colour]
        front = [
            mark for mark in own if not any(all(a <= b for a, b in zip(costs(o), costs(mark))) and costs(o) != costs(mark) for o in own)
        ]
        points = [made.place(mark) for mark in sorted(front, key=costs)]
        if len(points) > 1:
            drawing.raw(f'<path class="front" style="--mark: var(--c{colour})" d="M{"L".join(f"{x} {y}" for x, y in points)}"/>')
            made.lines += [(*a, *b) for a, b in pairwise(points)]


def _label(drawing: Drawing, made: _Plot, mark: Mark) -> None:
    """The name beside its point, or its number, or nothing, as there is room."""
    x, y = made.place(mark)
    for text in (f"{mark.number} {mark.name}", str(mark.number)):
        wide = LETTER * len(text)
        for left, base in (
            (x + 10, y + 4),
            (x - 10 - wide, y + 4),
            (x - wide / 2, y - 12),
            (x - wide / 2, y + 19),
            (x + 9, y - 9),
            (x + 9, y + 17),
        ):
            box = (left, base - LINE + 2, left + wide, base + 4)
            if made.free(box):
                drawing.raw(f'<text class="small" x="{left:.1f}" y="{base:.1f}" data-of="{mark.number}">{escape(text)}</text>')
                made.taken.append(box)
                return


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _struck(box: Box, line: Box) -> bool:
    """Whether a line passes through a box, or within two pixels of it."""
    x1, y1, x2, y2 = line
    steps = max(2, int(max(abs(x2 - x1), abs(y2 - y1)) / 3))
    wide = (box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2)
    return any(wide[0] < x1 + (x2 - x1) * i / steps < wide[2] and wide[1] < y1 + (y2 - y1) * i / steps < wide[3] for i in range(steps + 1))


def _number(value: float) -> str:
    """Without zeros at its end."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def looks(names: Sequence[str], kinds: Mapping[str, object] | Sequence[object]) -> dict[str, object]:
    """One of ``kinds`` for each name, again from the first after the last."""
    kept = list(kinds)
    return {name: kept[i % len(kept)] for i, name in enumerate(dict.fromkeys(names))}
