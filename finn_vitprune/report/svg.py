"""Figures as SVG inside of a page: its colours in light and dark, text as text, with a title and a description."""

from __future__ import annotations

import io
import re

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from finn_vitprune.report.figures import INK, QUIET, RULE

_PAGE = {INK: "--ink", QUIET: "--quiet", RULE: "--rule"}
"""Colours of figures that the page has, too."""
DARK = {
    "#2f5d8c": "#6ea6dd", "#8a8d3f": "#c3c668", "#7d6cab": "#b3a3e0", "#a8577e": "#dd8db4", "#5b9a8b": "#7cc4b2", "#d98f3d": "#eba85c",
    "#b9c3cd": "#66727e", "#e6c08f": "#a98451", "#b3261e": "#ff8a80",
}  # fmt: skip
"""Colours of figures, and what stands for them on dark paper."""
REM_AN_INCH = 5.4, 7.0
"""At least and at most on a page, where letters of 8 pt are 9.6 px to 12.4 px."""
_HEX = re.compile("#[0-9a-f]{6}")
_NAMES = re.compile(r'(\bid="|url\(#|href="#)')


def inline_svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an element of a page.

    Args:
        name: unique on the page; ids in the picture begin with it.
        description: for who does not see the picture; its title is that of the figure.
    """
    data = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(data, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = data.getvalue()
    start, body = re.search("<svg[^>]*>", text), text[text.index("</defs>") + len("</defs>") :]
    view = re.search('viewBox="[^"]*"', start[0])[0]
    body = _NAMES.sub(lambda found: f"{found[1]}{name}-", body)
    body = _HEX.sub(lambda found: f"var({_variable(found[0])})" if _variable(found[0]) else found[0], body)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 system-ui, sans-serif", body)
    wide = figure.get_figwidth()
    size = f'style="max-width: {REM_AN_INCH[1] * wide:.1f}rem; min-width: {REM_AN_INCH[0] * wide:.1f}rem"'
    head = f'<svg class="figure" {size} xmlns:xlink="http://www.w3.org/1999/xlink" {view} role="img" aria-labelledby="{name}-title {name}-about">'
    words = f'<title id="{name}-title">{escape(figure.get_suptitle())}</title><desc id="{name}-about">{escape(description)}</desc>'
    return Markup(head + words + body)


def colours(dark: bool) -> str:
    """The declarations of these colours in CSS."""
    return " ".join(f"{_variable(light)}: {other if dark else light};" for light, other in DARK.items())


def _variable(colour: str) -> str:
    return _PAGE.get(colour) or (f"--f{colour[1:]}" if colour in DARK else "")
