"""Self-contained HTML pages: one file without any address outside of it, light and dark, for narrow screens and paper.

Tables and filters are Tabulator's (``vendor``), which every page holds; pictures are inline SVG that needs no script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from finn_vitprune.report.tables import MARKS, TextTable
from finn_vitprune.report.tree import Tree

HERE = Path(__file__).parent
LONG = 40
"""Tables of more rows are made by the script, when their part of the page is opened."""


@dataclass(frozen=True)
class Bar:
    """A share of something, and how much of it may be used; None if nothing says so."""

    name: str
    share: float
    text: str
    budget: float | None = None


@dataclass(frozen=True)
class Tile:
    """A figure of the first screen with its mark and a note; ``bad``: it is not what was asked for."""

    name: str
    value: str
    mark: str = ""
    note: str = ""
    bars: tuple[Bar, ...] = ()
    bad: bool = False


@dataclass(frozen=True)
class Card:
    """Pictures on one subject with the mark of their figures, or words where there are none; several have a head each."""

    title: str
    pictures: tuple[tuple[str, Markup], ...] = ()
    note: str = ""
    mark: str = ""


@dataclass(frozen=True)
class PageSection:
    """A part of a page that opens: paragraphs, commands or lines of a log, pictures, tables, in this order."""

    title: str
    text: tuple[str, ...] = ()
    code: str = ""
    pictures: tuple[Markup, ...] = ()
    tables: tuple[TextTable, ...] = ()
    open: bool = False

    @property
    def id(self) -> str:
        """Where links of the page go."""
        return re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class ReportPage:
    """A page: a sentence, tiles, pictures, the tree table, and parts that open.

    notices: what is wrong. caveat: what is only an estimate.
    """

    title: str
    sentence: str = ""
    notices: Sequence[str] = ()
    caveat: str = ""
    tiles: Sequence[Tile] = ()
    cards: Sequence[Card] = ()
    tree: Tree | None = None
    sections: Sequence[PageSection] = ()

    def html(self) -> str:
        """The page."""
        return rendered(HERE / "report.html.j2", title=self.title, page=self, marks=MARKS, long=LONG)


def rendered(template: Path, **values: object) -> str:
    """The page of a template, which may extend ``page.html.j2``; text in ``values`` is escaped."""
    found = Environment(
        loader=FileSystemLoader([template.parent, HERE]), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters["data"] = as_data
    return found.get_template(template.name).render(library=library(), **values)


def as_data(value: object) -> Markup:
    """JSON as the content of a ``script`` element."""
    return Markup(json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c"))


@lru_cache(maxsize=1)
def library() -> dict[str, Markup]:
    """The style sheet and the scripts of every page, by ``css``, ``js`` and ``own``."""
    return {
        "css": Markup((HERE / "vendor" / "tabulator.min.css").read_text()),
        "js": Markup((HERE / "vendor" / "tabulator.min.js").read_text()),
        "own": Markup((HERE / "page.js").read_text()),
    }
