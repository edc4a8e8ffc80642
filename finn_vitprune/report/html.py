"""Self-contained HTML pages: no script, no file or address outside of them; light and dark, for narrow screens and paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from finn_vitprune.report.tables import TextTable

HERE = Path(__file__).parent
NOTHING: Mapping[str, str] = MappingProxyType({})


def to_html(
    title: str, tables: Sequence[TextTable], pictures: Mapping[str, str] = NOTHING, facts: Mapping[str, str] = NOTHING
) -> str:
    """A page of tables.

    Args:
        pictures: addresses that hold the pictures themselves, by their title; they come before the tables.
        facts: what the page is about, in words by their name; they come first.
    """
    return rendered(HERE / "page.html.j2", title=title, tables=tables, pictures=pictures, facts=facts)


def rendered(template: Path, **values: object) -> str:
    """The page of a template, which may extend ``page.html.j2``; text in ``values`` is escaped."""
    found = Environment(
        loader=FileSystemLoader([template.parent, HERE]), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return found.get_template(template.name).render(values)
