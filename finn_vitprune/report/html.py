"""Self-contained HTML pages: no script, no file or address outside of them; light and dark, for narrow screens and paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from finn_vitprune.report.svg import colours
from finn_vitprune.report.tables import MARKS, TextTable

HERE = Path(__file__).parent


@dataclass(frozen=True)
class KeyFigure:
    """A figure of the first lines of a page, with its mark."""

    name: str
    value: str
    mark: str


@dataclass(frozen=True)
class PageSection:
    """A part of a page: paragraphs, commands or lines of a log, pictures (SVG elements), tables, in this order."""

    title: str
    text: tuple[str, ...] = ()
    code: str = ""
    pictures: tuple[Markup, ...] = ()
    tables: tuple[TextTable, ...] = ()

    @property
    def id(self) -> str:
        """Where links of the page go."""
        return re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class ReportPage:
    """A page about one build or two. ``facts``: what was built, in words by their name; ``notice``: what the reader has to know first."""

    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[KeyFigure] = ()
    sections: Sequence[PageSection] = ()
    notice: str = ""

    def html(self) -> str:
        """The page."""
        return rendered(HERE / "report.html.j2", title=self.title, page=self, marks=MARKS, light=colours(False), dark=colours(True))


def rendered(template: Path, **values: object) -> str:
    """The page of a template, which may extend ``page.html.j2``; text in ``values`` is escaped."""
    found = Environment(
        loader=FileSystemLoader([template.parent, HERE]), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return found.get_template(template.name).render(values)
