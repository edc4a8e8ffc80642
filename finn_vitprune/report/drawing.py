"""Pictures of a page as inline SVG: in the page's colours, readable without JavaScript, with a text for each element on hover."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup, escape

WIDTH = 400
"""Of every picture, in CSS pixels: so wide it is on a narrow screen, too."""


def number(value: float) -> str:
    """A coordinate."""
    return f"{value:.1f}".removesuffix(".0")


class Drawing:
    """An SVG element that grows by shapes and texts.

    Args:
        name: unique on the page. title, description: for who does not see the picture.
    """

    def __init__(self, name: str, title: str, description: str, width: float = WIDTH) -> None:
        self.name, self.title, self.description, self.width, self.height = name, title, description, width, 0.0
        self._parts: list[str] = []

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        look: str,
        tip: str = "",
        opacity: float | None = None,
        data: Mapping[str, str] | None = None,
    ) -> None:
        """A rectangle of the class ``look``, with a text on hover. ``data``: what a click selects in the table of the page."""
        place = f'x="{number(x)}" y="{number(y)}" width="{number(max(width, 0))}" height="{number(height)}"'
        self._shape("rect", place, look, tip, opacity, data)
        self._reach(y + height)

    def path(self, d: str, look: str, tip: str = "", data: Mapping[str, str] | None = None) -> None:
        """A path."""
        self._shape("path", f'd="{d}"', look, tip, None, data)

    def text(self, x: float, y: float, text: str, look: str = "", anchor: str = "start") -> None:
        """A text on the base line ``y``."""
        shown = f' class="{look}"' if look else ""
        placed = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._parts.append(f'<text x="{number(x)}" y="{number(y)}"{shown}{placed}>{escape(text)}</text>')
        self._reach(y + 4)

    def raw(self, markup: str, bottom: float = 0) -> None:
        """SVG as it is."""
        self._parts.append(markup)
        self._reach(bottom)

    def legend(self, entries: Mapping[str, str], y: float, columns: int = 2) -> None:
        """A key of colours: class by words, in columns."""
        step = self.width / columns
        for i, (words, look) in enumerate(entries.items()):
            x, top = step * (i % columns), y + 18 * (i // columns)
            self.rect(x, top + 2, 11, 11, look)
            self.text(x + 17, top + 12, words, "quiet")

    def markup(self) -> Markup:
        """The element."""
        size = f'viewBox="0 0 {number(self.width)} {number(self.height)}" style="max-width: {number(1.15 * self.width)}px"'
        head = f'<svg class="drawing" {size} role="img" aria-labelledby="{self.name}-title {self.name}-about">'
        words = f'<title id="{self.name}-title">{escape(self.title)}</title>'
        words += f'<desc id="{self.name}-about">{escape(self.description)}</desc>'
        return Markup(head + words + "".join(self._parts) + "</svg>")

    def _shape(self, kind: str, place: str, look: str, tip: str, opacity: float | None, data: Mapping[str, str] | None) -> None:
        faint = "" if opacity is None else f' fill-opacity="{number(opacity) if opacity in (0, 1) else f"{opacity:.2f}"}"'
        marks = "".join(f' data-{name}="{escape(value)}"' for name, value in (data or {}).items())
        focus = ' tabindex="0"' if data else ""
        end = f"><title>{escape(tip)}</title></{kind}>" if tip else "/>"
        self._parts.append(f'<{kind} {place} class="{look}"{faint}{marks}{focus}{end}')

    def _reach(self, bottom: float) -> None:
        self.height = max(self.height, bottom)
